defmodule Lab.Simulation.Peers.Gradient2 do
  @moduledoc false
  # The gradient of short over long latency sets the calls in flight: Netflix concurrency-limits, Gradient2Limit
  # within a WindowedLimit, with the defaults of both (20 at first, 20 to 200, smoothing 0.2, a queue of 4, a long
  # window of 600; a window is a second with at least 10 samples).
  use Lab.Simulation.Controller

  @window_ms 1_000.0
  @least_samples 10
  @long 600
  @warmup 10

  defstruct limit: 20.0,
            least: 20,
            most: 200,
            smoothing: 0.2,
            queue: 4,
            long_ms: 0.0,
            long_count: 0,
            next_ms: 0.0,
            sum_ms: 0.0,
            samples: 0,
            in_flight: 0

  @impl true
  def new(_setting), do: %__MODULE__{}

  @impl true
  def admit(gradient, _now, in_flight), do: {in_flight < trunc(gradient.limit), nil, gradient}

  # A duration below 100 µs is not a sample, so immediate rejections do not count.
  @impl true
  def finished(gradient, %{duration_ms: duration}) when duration < 0.1, do: gradient

  def finished(gradient, finished) do
    gradient = %{
      gradient
      | sum_ms: gradient.sum_ms + finished.duration_ms,
        samples: gradient.samples + 1,
        in_flight: max(gradient.in_flight, finished.in_flight_then)
    }

    if finished.now > gradient.next_ms, do: close(gradient, finished.now), else: gradient
  end

  @impl true
  def level(gradient), do: trunc(gradient.limit)

  defp close(gradient, now) do
    closed = %{gradient | sum_ms: 0.0, samples: 0, in_flight: 0, next_ms: now + @window_ms}

    if gradient.samples >= @least_samples,
      do: update(closed, gradient.sum_ms / gradient.samples, gradient.in_flight),
      else: closed
  end

  @doc "Updates the limit by one window: its mean duration and its most calls in flight."
  def update(gradient, short_ms, in_flight) do
    {long, count} = average({gradient.long_ms, gradient.long_count}, short_ms, @long, @warmup)
    eased = if long / short_ms > 2, do: long * 0.9, else: long
    gradient = %{gradient | long_ms: eased, long_count: count}

    if in_flight < gradient.limit / 2 do
      gradient
    else
      slope = (long / short_ms) |> min(1.0) |> max(0.5)
      wanted = gradient.limit * slope + gradient.queue
      limit = gradient.limit * (1 - gradient.smoothing) + wanted * gradient.smoothing
      %{gradient | limit: limit |> min(gradient.most) |> max(gradient.least)}
    end
  end

  @doc "Returns an exponential average over about `window` samples, and a plain mean for the first ones."
  def average({mean, count}, sample, _window, warmup) when count < warmup,
    do: {(mean * count + sample) / (count + 1), count + 1}

  def average({mean, count}, sample, window, _warmup) do
    weight = 2.0 / (window + 1)
    {mean * (1 - weight) + sample * weight, count}
  end
end
