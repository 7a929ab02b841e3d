defmodule Guides.Traffic do
  # The arrivals behind the pictures and the table of limits.md, in milliseconds, decided by the limiter itself under a
  # manual clock.
  @moduledoc false

  @doc "Returns the arrivals of a picture."
  def steady, do: every(500, 250, 35_750)

  def across_a_boundary, do: [2_000 | every(200, 8_000, 14_000)]

  def after_idling,
    do: every(1_000, 500, 4_500) ++ every(200, 21_000, 25_600) ++ every(1_000, 26_500, 43_500)

  @doc "Returns arrivals at random moments, `load` times as many as the limit, the same in each run."
  def random(load, limit, per_ms, periods) do
    :rand.seed(:exsss, {1, 2, 3})

    for(_ <- 1..round(load * limit * periods), do: :rand.uniform(per_ms * periods) - 1)
    |> Enum.sort()
  end

  @doc "Returns each arrival with whether the window admits it."
  def run(window, arrivals) do
    # In a process of its own, so that runs share neither clock nor keys.
    Task.async(fn -> judge(window, arrivals) end) |> Task.await(:infinity)
  end

  defp judge(window, arrivals) do
    :ok = RateLimiter.Test.start(limiters: [picture: [windows: [shown: window], events: :none]])
    start = RateLimiter.Test.now()

    for at <- arrivals do
      RateLimiter.Test.set(DateTime.add(start, at, :millisecond))
      {at, elem(RateLimiter.check_and_track(:picture, :caller, :shown), 0) == :ok}
    end
  end

  @doc "Returns the number of calls admitted in the period before each moment at which that number changes."
  def totals(judged, per_ms) do
    admitted = for {at, true} <- judged, do: at

    (Enum.map(admitted, &{&1, 1}) ++ Enum.map(admitted, &{&1 + per_ms, -1}))
    |> Enum.sort()
    |> Enum.chunk_by(&elem(&1, 0))
    |> Enum.scan({0, 0}, fn [{at, _} | _] = changes, {_before, total} ->
      {at, Enum.reduce(changes, total, fn {_at, change}, total -> total + change end)}
    end)
  end

  defp every(step, from, to), do: Enum.to_list(from..to//step)
end
