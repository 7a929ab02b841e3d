defmodule RateLimiter.Support.Growth do
  @moduledoc "What is left over by something that is done many times."

  import ExUnit.Callbacks
  import RateLimiter.Support.Eventually

  @megabyte 1_048_576

  # Less than a megabyte of the runtime, less than eight that are resident.
  @most %{
    runtime: @megabyte - 1,
    resident: 8 * @megabyte - 1,
    processes: 2,
    tables: 2,
    atoms: 9,
    handlers: 0
  }

  @doc "Silences the logger during a test. Captured messages of so many exits would count as memory."
  @spec silence(map) :: :ok
  def silence(_context) do
    level = Logger.level()
    Logger.configure(level: :none)
    on_exit(fn -> Logger.configure(level: level) end)
  end

  @doc """
  Raises if rounds leave memory, processes, tables, atoms or handlers.

  The first rounds load code and warm allocators; growth after that is a leak. The runtime frees the memory of killed
  processes a moment later.
  """
  @spec assert_no_growth(pos_integer, (... -> term)) :: true
  def assert_no_growth(rounds \\ 1_000, round) do
    for _ <- 1..div(rounds, 5), do: round.()
    before = size()
    for _ <- 1..rounds, do: round.()
    eventually(fn -> grown(before, size()) == [] end, fn -> grown(before, size()) end)
  end

  defp grown(before, later) do
    for {key, most} <- @most,
        later[key] - before[key] > most,
        do: {key, before[key], later[key]}
  end

  defp size do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)

    %{
      runtime: :erlang.memory(:total),
      resident: resident(),
      processes: length(Process.list()),
      tables: length(:ets.all()),
      atoms: :erlang.system_info(:atom_count),
      handlers: length(:telemetry.list_handlers([]))
    }
  end

  # On Linux.
  defp resident do
    case File.read("/proc/self/statm") do
      {:ok, pages} ->
        pages |> String.split() |> Enum.at(1) |> String.to_integer() |> Kernel.*(4_096)

      {:error, _} ->
        0
    end
  end
end
