defmodule Bench.GovernorNif do
  @moduledoc false
  # The peer: governor keyed by String behind a bare NIF. Also an empty NIF, and the processor's counter as a clock.

  @workspace Path.expand("..", __DIR__)

  @doc "Builds the library with Cargo, and loads it."
  @spec load!() :: :ok
  def load! do
    :ok = build!() |> Path.rootname() |> String.to_charlist() |> :erlang.load_nif(0)
  end

  @spec check(String.t()) :: boolean
  def check(_id), do: not_loaded()

  @spec check_narrow(String.t()) :: boolean
  def check_narrow(_id), do: not_loaded()

  @spec nothing() :: true
  def nothing, do: not_loaded()

  @spec ticks() :: non_neg_integer
  def ticks, do: not_loaded()

  @spec nanoseconds(non_neg_integer, non_neg_integer) :: non_neg_integer
  def nanoseconds(_from, _to), do: not_loaded()

  defp not_loaded, do: :erlang.nif_error(:not_loaded)

  # The VM expects the extension .so, also where the system uses another one.
  defp build! do
    {messages, 0} =
      System.cmd(
        "cargo",
        ~w(build --quiet --release --locked -p governor_nif --message-format=json-render-diagnostics),
        cd: @workspace
      )

    [built] = Regex.run(~r/"[^"]*governor_nif\.(?:so|dylib|dll)"/, messages)
    library = Path.join(Mix.Project.build_path(), "bench/governor_nif.so")
    File.mkdir_p!(Path.dirname(library))
    # Renamed, not written in place: another run may have the old file mapped.
    temporary = "#{library}.#{System.pid()}"
    File.cp!(String.trim(built, "\""), temporary)
    File.rename!(temporary, library)
    library
  end
end
