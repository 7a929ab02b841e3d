defmodule Bench.Machine do
  @moduledoc false
  # The machine and the versions of a run.

  @spec print(String.t()) :: :ok
  def print(title) do
    IO.puts("""
    # #{title}

    #{cpu()}, #{System.schedulers_online()} schedulers, #{kernel()}.
    Elixir #{System.version()}, OTP #{System.otp_release()} (#{:erlang.system_info(:emu_flavor)}); #{rustc()}; \
    #{Enum.map_join(~w(governor rustler), ", ", &"#{&1} #{locked(&1)}")}.
    Load average at the start: #{load()}.
    """)
  end

  @doc "Returns the load averages over 1, 5 and 15 minutes. Load beyond the benchmark's own processes is noise."
  @spec load() :: String.t()
  def load do
    case File.read("/proc/loadavg") do
      {:ok, averages} -> averages |> String.split() |> Enum.take(3) |> Enum.join(" ")
      {:error, _reason} -> "unknown"
    end
  end

  defp cpu do
    with {:ok, info} <- File.read("/proc/cpuinfo"),
         [_line, name] <- Regex.run(~r/^model name\s*: (.*)$/m, info) do
      name
    else
      _other -> "unknown processor"
    end
  end

  defp kernel do
    {_family, name} = :os.type()

    version =
      case :os.version() do
        {major, minor, patch} -> "#{major}.#{minor}.#{patch}"
        text -> text
      end

    "#{name |> Atom.to_string() |> String.capitalize()} #{version}"
  end

  defp rustc do
    case System.cmd("rustc", ["--version"]) do
      {version, 0} -> String.trim(version)
      _failed -> "unknown rustc"
    end
  end

  defp locked(crate) do
    lock = File.read!(Path.expand("../Cargo.lock", __DIR__))
    [_all, version] = Regex.run(~r/name = "#{crate}"\nversion = "([^"]+)"/, lock)
    version
  end
end
