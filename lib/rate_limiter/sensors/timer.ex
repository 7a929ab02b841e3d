defmodule RateLimiter.Sensors.Timer do
  @moduledoc false
  # The lateness of timers: a process sets a timer of 10 ms again and again, and compares the clock when it fires.
  #
  # A runtime with late timers is late with everything, independent of its schedulers' utilisation.

  @behaviour RateLimiter.Health

  @period_ms 10
  @timers 100
  # The largest of a hundred is an outlier.
  @outliers 1

  @impl true
  def init(_options), do: nil

  # The timer's process lives as long as the reading process.
  @impl true
  def measure(nil) do
    reader = self()
    cell = :atomics.new(1, [])
    :atomics.put(cell, 1, -1)
    pid = spawn_link(fn -> start(reader, cell) end)
    {:no_opinion, "fewer than 100 timers have fired yet", {pid, cell}}
  end

  def measure({_pid, cell} = state) do
    case :atomics.get(cell, 1) do
      -1 -> {:no_opinion, "fewer than 100 timers have fired yet", state}
      us -> {:ok, us / 1_000, state}
    end
  end

  @doc "Returns the second largest lateness, in microseconds."
  @spec worst([non_neg_integer]) :: non_neg_integer
  def worst(late), do: late |> Enum.sort(:desc) |> Enum.at(min(@outliers, length(late) - 1))

  defp start(reader, cell) do
    Process.flag(:priority, :normal)
    Process.monitor(reader)
    wait(cell, [])
  end

  defp wait(cell, late) when length(late) >= @timers do
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
