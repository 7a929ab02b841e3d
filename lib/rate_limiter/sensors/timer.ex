defmodule RateLimiter.Sensors.Timer do
  @moduledoc false
  # The lateness of timers: a process sets a timer of 10 ms again and again, and compares the clock when it fires.
  #
  # A runtime with late timers is late with everything. But other programs of the machine make timers late, too, and then
  # fewer calls do not help. So lateness counts only in so far as the schedulers of this runtime are busy.

  @behaviour RateLimiter.Health

  alias RateLimiter.Sensors.Schedulers

  @period_ms 10
  @timers 100
  # The largest of a hundred is an outlier.
  @outliers 1
  # Schedulers that are busy for a smaller share of the time have time to spare.
  @busy 0.5

  @impl true
  def init(_options), do: nil

  # The timer's process lives as long as the reading process.
  @impl true
  def measure(nil) do
    reader = self()
    cell = :atomics.new(1, [])
    :atomics.put(cell, 1, -1)
    pid = spawn_link(fn -> start(reader, cell) end)
    {:no_opinion, _reason, times} = Schedulers.measure(nil)
    {:no_opinion, "fewer than 100 timers have fired yet", {pid, cell, times}}
  end

  def measure({pid, cell, times}) do
    case {:atomics.get(cell, 1), Schedulers.measure(times)} do
      {-1, {_kind, _busy, times}} ->
        {:no_opinion, "fewer than 100 timers have fired yet", {pid, cell, times}}

      {us, {:ok, busy, times}} ->
        {:ok, own(us / 1_000, busy), {pid, cell, times}}

      {_us, {:no_opinion, reason, times}} ->
        {:no_opinion, reason, {pid, cell, times}}
    end
  end

  @doc """
  Returns the part of a lateness that counts, for schedulers that are busy for a share of the time: nothing up to a half,
  all of it at 1.

      iex> Enum.map([0.01, 0.5, 0.75, 1.0], &RateLimiter.Sensors.Timer.own(80, &1))
      [0.0, 0.0, 40.0, 80.0]
  """
  @spec own(number, number) :: float
  def own(late_ms, busy), do: late_ms * max(0.0, busy - @busy) / (1 - @busy)

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
