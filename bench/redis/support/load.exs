defmodule Bench.Redis.Load do
  @moduledoc false
  # Processes that check, each as fast as it is answered, or at fixed times.

  alias Bench.{Histogram, Keys}

  @limiter :redis_bench

  @doc "Starts the instance. Its limit denies nothing, because a remembered denial is answered without Redis."
  @spec start(keyword) :: pid
  def start(store) do
    {:ok, instance} =
      RateLimiter.start_link(
        name: Bench.Redis,
        store: {:redis, store},
        stats_interval: :infinity,
        limiters: [
          {@limiter, windows: [each: [limit: 60, per: :hour, burst: 1_000_000]], events: :denials}
        ]
      )

    instance
  end

  @doc "A check of ours. `:late` is an answer after the deadline, which came from this node alone."
  @spec ours(String.t()) :: :ok | :late
  def ours(key) do
    case RateLimiter.check_and_track(@limiter, key, :each) do
      {:ok, %{source: :redis}} -> :ok
      {:ok, %{source: :fallback}} -> :late
    end
  end

  @doc """
  Checks in `processes` processes for `ms` milliseconds, each as fast as it is answered. Returns the number of checks that
  Redis answered, the number of late ones, the duration, and those of the single checks.
  """
  @spec closed((String.t() -> :ok | :late), pos_integer, pos_integer, pos_integer) ::
          {checks :: non_neg_integer, late :: non_neg_integer, us :: pos_integer, Histogram.t()}
  def closed(check, processes, keys, ms) do
    keys = Keys.tuple(keys)
    histogram = Histogram.new()
    stop = :atomics.new(1, [])
    from = System.monotonic_time(:microsecond)

    tasks =
      for number <- 1..processes do
        Task.async(fn ->
          closed_loop({check, keys, stop, histogram}, first(keys, number, processes), {0, 0})
        end)
      end

    Process.sleep(ms)
    :atomics.put(stop, 1, 1)
    counts = Task.await_many(tasks, 60_000)
    us = System.monotonic_time(:microsecond) - from

    {counts |> Enum.map(&elem(&1, 0)) |> Enum.sum(),
     counts |> Enum.map(&elem(&1, 1)) |> Enum.sum(), us, histogram}
  end

  @doc "Returns the durations of single checks at a fixed rate, which slow answers do not lower."
  @spec open(pos_integer, pos_integer, pos_integer, pos_integer) :: Histogram.t()
  def open(per_second, processes, keys, ms) do
    keys = Keys.tuple(keys)
    histogram = Histogram.new()
    every_us = div(processes * 1_000_000, per_second)
    begin = System.monotonic_time(:microsecond) + 50_000
    finish = begin + ms * 1_000

    1..processes
    |> Enum.map(fn number ->
      due = begin + div(every_us * number, processes)

      Task.async(fn ->
        open_loop(keys, first(keys, number, processes), due, every_us, finish, histogram)
      end)
    end)
    |> Task.await_many(60_000 + ms)

    histogram
  end

  @doc "Starts an instance with short keys, for the size of a key. `part_ms` is the length of a sub-window."
  @spec start_short(keyword, pos_integer) :: pid
  def start_short(store, part_ms) do
    window = [algorithm: :sliding_window, limit: 100, per: {10 * part_ms, :millisecond}]

    {:ok, instance} =
      RateLimiter.start_link(
        name: Bench.Redis.Short,
        store: {:redis, [prefix: "b"] ++ store},
        stats_interval: :infinity,
        limiters: [
          t: [windows: [w: [limit: 100, per: :hour]], events: :denials],
          s: [windows: [w: window], events: :denials]
        ]
      )

    instance
  end

  @doc "Checks each id once."
  @spec fill(atom, [String.t()], atom) :: :ok
  def fill(limiter, ids, window) do
    ids
    |> Enum.chunk_every(250)
    |> Enum.each(fn ids ->
      for answer <- RateLimiter.check_batch(limiter, Enum.map(ids, &{&1, 1}), window),
          do: {:ok, _usage} = answer
    end)
  end

  @doc "Waits for the next sub-window, by the clock of this machine, on which the server runs as well."
  @spec wait_for_next(pos_integer) :: :ok
  def wait_for_next(part_ms),
    do: Process.sleep(part_ms - rem(System.os_time(:millisecond), part_ms) + 1)

  defp closed_loop({check, keys, stop, histogram} = load, at, {checks, late} = counts) do
    if :atomics.get(stop, 1) == 1 do
      counts
    else
      from = System.monotonic_time(:nanosecond)
      answer = check.(elem(keys, at))
      Histogram.add(histogram, System.monotonic_time(:nanosecond) - from)

      case answer do
        :ok -> closed_loop(load, next(at, keys), {checks + 1, late})
        :late -> closed_loop(load, next(at, keys), {checks, late + 1})
      end
    end
  end

  # A delayed process makes its missed calls at once.
  defp open_loop(_keys, _at, due, _every_us, finish, _histogram) when due >= finish, do: :ok

  defp open_loop(keys, at, due, every_us, finish, histogram) do
    wait_until(due)
    from = System.monotonic_time(:nanosecond)
    ours(elem(keys, at))
    Histogram.add(histogram, System.monotonic_time(:nanosecond) - from)
    open_loop(keys, next(at, keys), due + every_us, every_us, finish, histogram)
  end

  # The runtime's timers count milliseconds, so some ten calls are made at once.
  defp wait_until(due) do
    case div(due - System.monotonic_time(:microsecond), 1_000) do
      ms when ms > 0 -> Process.sleep(ms)
      _late -> :ok
    end
  end

  defp first(keys, number, processes), do: div(tuple_size(keys) * (number - 1), processes)
  defp next(at, keys), do: rem(at + 1, tuple_size(keys))
end
