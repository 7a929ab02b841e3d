defmodule RateLimiter.Adaptive.ClosedLoop.Reading do
  @moduledoc false
  # The evaluation of one window: its stress, the binding signal, and whether load can be the cause.

  alias RateLimiter.Adaptive.ClosedLoop.{Audit, Estimates, Window}
  alias RateLimiter.Adaptive.{Histogram, Stress, Work}

  # Above this share of failures, calls that began before the last cut say nothing about the load after it.
  @drowned 0.3
  @min_bearable_ms 5.0
  # One failure beside at least so many successes is taken for chance.
  @several 4

  @curves %{queue: {0.5, 1.25, 2.0}, errors: {0.02, 0.135, 0.25}}

  defstruct stress: 0.0,
            binding: nil,
            # The stress of the queue alone.
            queue: 0.0,
            errors: 0.0,
            latency: nil,
            # Whether the window has calls to decide by.
            opinion?: false,
            # Whether calls are denied here or pile up. Without either, shedding cannot help.
            by_load?: false,
            held_back?: false,
            guarded_share: 0.0,
            good_rate: 0.0,
            admitted_rate: 0.0,
            demand: 0.0,
            waited_ms: nil,
            in_flight: 0,
            limit: 0.0,
            seconds: 1.0

  @type t :: %__MODULE__{}

  @doc "Returns the reading of the state's window."
  @spec take(map, map) :: t
  def take(%{window: window} = state, observation) do
    all = Window.work(window)
    # Without any success they count: a cut loses nothing.
    work = if Work.failure_ratio(all) > @drowned and all.ok > 0, do: window.fresh, else: all
    latency = latency(work)
    errors = Work.failure_ratio(work)
    queue = queue(state, latency)
    excess = if chance?(work), do: 0.0, else: max(0.0, errors - state.estimates.usual_errors)

    {stress, binding} = Stress.greatest(%{queue: queue, errors: excess}, @curves)
    {pain, source} = Audit.strongest(observation.pain, state.ignored)

    {stress, binding} =
      if pain > stress, do: {pain * 1.0, {:pain, source}}, else: {stress, binding}

    held_back? = window.denied + window.guarded > 0

    %__MODULE__{
      stress: stress,
      binding: binding,
      queue: if(queue, do: Stress.level(queue, @curves.queue), else: 0.0),
      errors: errors,
      latency: latency,
      opinion?: Work.finished(work) > 0 or pain > 0,
      held_back?: held_back?,
      by_load?: held_back? or piles_up?(state, all, observation) or binding not in [nil, :queue],
      guarded_share: window.guarded / max(1, window.asked),
      good_rate: Window.good_rate(window),
      admitted_rate: Window.admitted_rate(window),
      demand: Window.demand(window),
      waited_ms: waited_ms(all),
      in_flight: observation.in_flight,
      limit: observation.limit,
      seconds: window.elapsed_ms / 1_000
    }
  end

  # Low quantiles distinguish a queue from a heavy tail: a queue delays every call, a tail only some.
  defp latency(%Work{latency: latency}) do
    case Histogram.quantiles(latency, [0.25, 0.5]) do
      [nil, nil] -> nil
      [p25, p50] -> %{p25: p25, p50: p50, mean: Histogram.mean(latency)}
    end
  end

  # How far the fastest quarter of calls is above the usual, relative to what callers can bear.
  defp queue(_state, nil), do: nil
  defp queue(%{estimates: %{base: nil}}, _latency), do: 0.0

  defp queue(%{estimates: %{base: base} = estimates, target: target}, latency) do
    bearable = (Estimates.tolerable_ms(estimates, target) - base.p50) / 2
    max(0.0, latency.p25 - base.p25) / Enum.max([base.p50, @min_bearable_ms, bearable])
  end

  defp chance?(work), do: Work.failed(work) == 1 and work.ok >= @several

  # Of calls that were all admitted, fewer finished than chance explains with so many in flight: in this window, or since
  # the first of several hot ones.
  defp piles_up?(%{window: window} = state, all, %{in_flight: in_flight}) do
    window.asked - Work.finished(all) > 2 * :math.sqrt(max(1, in_flight)) or
      (state.hot + state.steady > 0 and
         in_flight - state.hot_from > 2 * :math.sqrt(max(1, state.hot_from)))
  end

  defp waited_ms(%Work{timeouts: 0}), do: nil
  defp waited_ms(work), do: work.waited_us / work.timeouts / 1_000
end
