defmodule RateLimiter.Adaptive.ClosedLoop.Reading do
  @moduledoc false
  # What one window says: how much stress, whose, and whether load can be the reason.

  alias RateLimiter.Adaptive.{Baseline, Guard, Stress, Window, Work}
  alias RateLimiter.Adaptive.ClosedLoop.Audit

  # From this share of failures on, calls that began before the last cut only tell of the load that was cut.
  @drowned 0.3
  @least_ms 5.0

  defstruct stress: 0.0,
            binding: nil,
            # The stress of the queue alone.
            queue: 0.0,
            errors: 0.0,
            latency: nil,
            # Whether the window has calls to judge by.
            opinion?: false,
            # Whether calls were turned away here, or pile up: else nothing is there that shedding could cure.
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

  @doc "The reading of the state's window."
  @spec take(map, map) :: t
  def take(state, observation) do
    window = state.window
    all = Window.work(window)
    work = if Work.failure_ratio(all) > @drowned, do: window.fresh, else: all
    latency = Baseline.of(work)
    errors = Work.failure_ratio(work)

    readings = %{
      queue: queue(state, latency),
      errors: max(0.0, errors - state.memory.usual_errors)
    }

    {stress, binding} = Stress.greatest(readings, Stress.scale_curves())
    {pain, source} = Audit.loudest(observation.pain, state.unheard)
    {queue, _name} = Stress.greatest(Map.take(readings, [:queue]), Stress.scale_curves())

    {stress, binding} =
      if pain > stress, do: {pain * 1.0, {:pain, source}}, else: {stress, binding}

    held_back? = window.denied + window.guarded > 0

    %__MODULE__{
      stress: stress,
      binding: binding,
      queue: queue,
      errors: errors,
      latency: latency,
      opinion?: Work.finished(work) > 0 or pain > 0,
      held_back?: held_back?,
      by_load?: held_back? or piles_up?(window, all, observation) or binding not in [nil, :queue],
      guarded_share: window.guarded / max(1, window.asked),
      good_rate: Window.good_rate(window),
      admitted_rate: Window.admitted_rate(window),
      demand: Window.demand(window),
      waited_ms: waited(all),
      in_flight: observation.in_flight,
      limit: observation.limit,
      seconds: window.elapsed_ms / 1_000
    }
  end

  # How far the fast quarter of calls is above the usual, against what callers can bear.
  defp queue(_state, nil), do: nil
  defp queue(%{memory: %{base: nil}}, _latency), do: 0.0

  defp queue(%{memory: %{base: base}} = state, latency) do
    bearable = (Guard.tolerable(state) - base.p50) / 2
    max(0.0, latency.p25 - base.p25) / Enum.max([base.p50, @least_ms, bearable])
  end

  # More came in than went out, by more than chance does to so many in flight.
  defp piles_up?(window, all, observation) do
    let_in = window.asked - window.denied - window.guarded
    let_in - Work.finished(all) > 2 * :math.sqrt(max(1, observation.in_flight))
  end

  defp waited(%Work{timeouts: 0}), do: nil
  defp waited(work), do: work.waited_us / work.timeouts / 1_000
end
