defmodule RateLimiter.Sensors.Timer do
  @moduledoc false
  # How late timers are: a process that asks to be woken every 10 ms, and looks at the clock when it is.
  #
  # A runtime that is late with timers is late with everything, whatever its schedulers say of themselves.

  @behaviour RateLimiter.Health

  @period_ms 10
  @kept 100
  # The 99th of a hundred.
  @passed_over 1

  @impl true
  def init(_options), do: nil

  # The process lives as long as the one that reads it.
  @impl true
  def measure(nil) do
    reader = self()
    cell = :atomics.new(1, [])
    :atomics.put(cell, 1, -1)
    pid = spawn_link(fn -> begin(reader, cell) end)
    {:no_opinion, "no hundred timers have run yet", {pid, cell}}
  end

  def measure({_pid, cell} = state) do
    case :atomics.get(cell, 1) do
      -1 -> {:no_opinion, "no hundred timers have run yet", state}
      us -> {:ok, us / 1_000, state}
    end
  end

  @doc "The lateness that all but one in a hundred stay below, in microseconds."
  @spec worst([non_neg_integer]) :: non_neg_integer
  def worst(late), do: late |> Enum.sort(:desc) |> Enum.at(min(@passed_over, length(late) - 1))

  defp begin(reader, cell) do
    Process.flag(:priority, :normal)
    Process.monitor(reader)
    wait(cell, [])
  end

  defp wait(cell, late) when length(late) >= @kept do
    :atomics.put(cell, 1, worst(late))
    wait(cell, [])
  end

  defp wait(cell, late) do
    due = System.monotonic_time(:microsecond) + @period_ms * 1_000
    Process.send_after(self(), :due, @period_ms)

    receive do
      :due -> wait(cell, [max(0, System.monotonic_time(:microsecond) - due) | late])
      {:DOWN, _ref, :process, _reader, _reason} -> :ok
    end
  end
end
