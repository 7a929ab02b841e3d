defmodule RateLimiter.Adaptive.ClosedLoop do
  @moduledoc """
  The law for a subsystem whose callers report how long their work took and how it ended.

  It detects a standing queue, failures, and reported pain. A queue delays every call, while a heavy tail delays only
  some, so the fastest quarter of calls shows a queue. The law acts on two windows in a row, each of at least 15 calls
  or 5 seconds:

    * **cut** - reduces the scale by up to 30 %, but not below the rate that was recently answered well.
    * **grow** - raises the scale after two calm windows: by 3 % near the last cut, then by 15 to 50 % per second.
    * **audit** - takes a cut back if shedding did not help, or if there is no load to shed. Then latency or failures
      have another cause, and their present level counts as usual from now on.
    * **guard** - limits the calls in flight by Little's law: the rate times the time that callers can wait. A rate
      limit alone cannot bound a queue, because the backlog grows at any rate above the capacity. While the guard denies
      calls although all are as fast as usual, it rises by up to three standard deviations.

  If six or more calls finish and none succeeds, the law cuts once a second: while nothing is answered, it waits neither
  for a full window nor for the effect of the last cut.

  The time that callers can wait is `:target`. Without one, it is learned from how long callers waited before they gave
  up, or else it is three times the usual duration of the work.

  ## Options

    * `:target` - how long a call may take, in milliseconds. Default: learned
    * `:floor` - the smallest scale. Default: `0.1`
    * `:ceiling` - the largest scale. Above 1.0, the limit may grow beyond the configured one while calls use it up
      without stress. Default: `1.0`
    * `:scale` - the initial scale. Default: `1.0`

  ## Limits of this law

  It needs some calls to decide by: five a minute are too few. A resource that rejects calls at once, without a queue,
  shows only as failures. The law does not distinguish callers, such as one tenant whose calls fail.
  """

  @behaviour RateLimiter.Adaptive

  alias RateLimiter.Adaptive
  alias RateLimiter.Adaptive.ClosedLoop.{Audit, Estimates, Explain, Reading, Step, Window}
  alias RateLimiter.Adaptive.{Decision, Observation, Work}

  @hot 0.25
  @cool 0.10
  @long_s 3.5
  # At least this long, and three times the median: calls that finish before then still belong to the load before the cut.
  @settle_ms 2_000
  # Without any success, the next cut does not wait for the effect of the last one. The caller's clock may be a little early.
  @no_answer_ms 900

  defstruct scale: 1.0,
            floor: 0.1,
            ceiling: 1.0,
            target: nil,
            window: %Window{},
            estimates: %Estimates{},
            # Consecutive windows that were hot because of load, hot without load, and cool.
            hot: 0,
            steady: 0,
            # The calls in flight in the first of the consecutive hot windows.
            hot_from: 0,
            cool: 0,
            cut_at: nil,
            algedonic_at: nil,
            # The cuts since the last growth or audit.
            chain: nil,
            # The rate proven at the last cut as a scale, the steps of growth near it, and the pace beyond it.
            edge: 0.0,
            near: 0,
            pace: 0.15,
            ignored: %{},
            guard: :infinity,
            # How many standard deviations the guard allows beyond the usual calls in flight.
            room: 0.0,
            stress: 0.0,
            binding: nil,
            held: nil

  @impl true
  def new(options),
    do: struct!(__MODULE__, Adaptive.validate!(options, [:scale, :floor, :ceiling, :target]))

  @impl true
  def step(%__MODULE__{} = state, %Observation{} = observation, now_ms) do
    Observation.check!(observation)
    state = %{state | window: Window.add(state.window, observation)}
    state = %{state | ignored: Audit.still_ignored(state.ignored, observation.pain)}

    cond do
      observation.limit == 0 -> hold(state, nil, nil)
      algedonic?(state, observation, now_ms) -> algedonic(state, observation, now_ms)
      Window.full?(state.window) -> judge(state, observation, now_ms)
      idle?(observation) -> idle(state)
      true -> hold(state, nil, nil)
    end
  end

  @impl true
  def resize(%__MODULE__{} = state, factor) do
    guard = if state.guard == :infinity, do: :infinity, else: max(1, ceil(state.guard * factor))

    %{
      state
      | window: %Window{},
        estimates: Estimates.resize(state.estimates, factor),
        chain: Audit.resize(state.chain, factor),
        guard: guard
    }
  end

  ## A full window

  defp judge(state, observation, now) do
    reading = Reading.take(state, observation)
    state = state |> learn(reading) |> count(reading)

    {state, decision} = act(state, reading, observation, now)
    state = %{state | room: Step.room(state, reading)}
    guard = Step.guard(state, reading, observation.limit)
    {%{state | guard: guard}, %{decision | guard: guard}}
  end

  # A window without an opinion changes no count. Between hot and cool is the dead band.
  defp count(state, %Reading{opinion?: false} = reading),
    do: %{state | stress: reading.stress, binding: reading.binding}

  defp count(state, reading) do
    hot? = reading.stress >= @hot

    %{
      state
      | hot: if(hot? and reading.by_load?, do: state.hot + 1, else: 0),
        steady: if(hot? and not reading.by_load?, do: state.steady + 1, else: 0),
        hot_from: if(state.hot + state.steady == 0, do: reading.in_flight, else: state.hot_from),
        cool: if(reading.stress <= @cool, do: state.cool + windows(reading), else: 0),
        stress: reading.stress,
        binding: reading.binding
    }
  end

  # A window that took long to fill stands for two.
  defp windows(%{seconds: seconds}) when seconds >= @long_s, do: 2
  defp windows(_reading), do: 1

  defp act(state, reading, observation, now) do
    settled? = settled?(state, reading, now)

    cond do
      not reading.opinion? -> hold(state, nil, reading)
      state.steady >= 3 -> audit(state, reading)
      settled? and Audit.failed?(state, reading) -> audit(state, reading)
      urgent?(state, reading) and settled? -> cut(state, reading, observation, now)
      urgent?(state, reading) -> hold(state, :settling, reading)
      state.hot > 0 -> hold(state, :confirming, reading)
      state.steady > 0 -> hold(state, :not_load, reading)
      state.cool >= 2 -> grow(state, reading)
      state.cool == 0 and state.scale < 1.0 -> hold(state, :dead_band, reading)
      true -> hold(state, nil, reading)
    end
  end

  defp urgent?(state, reading),
    do: state.hot >= 2 or (reading.stress > 0.9 and reading.errors > 0.2)

  defp settled?(%{cut_at: nil}, _reading, _now), do: true

  defp settled?(state, %{errors: errors}, now) when errors >= 1.0,
    do: now - state.cut_at >= @no_answer_ms

  defp settled?(state, reading, now) do
    median = if reading.latency, do: reading.latency.p50, else: 0.0
    now - state.cut_at >= max(@settle_ms, 3 * median)
  end

  ## Pain that cannot wait for a full window: at most one bounded cut per second

  defp algedonic?(state, observation, now) do
    {level, _source} = Audit.strongest(observation.pain, state.ignored)
    level >= 0.9 and (state.algedonic_at == nil or now - state.algedonic_at >= 1_000)
  end

  defp algedonic(state, observation, now) do
    reading = Reading.take(state, observation)
    state = %{state | algedonic_at: now, stress: reading.stress, binding: reading.binding}
    # A window that is not full has too few calls to learn from. They stay in the window.
    state = if Window.full?(state.window), do: learn(state, reading), else: state

    if Audit.failed?(state, reading),
      do: audit(state, reading),
      else: cut(state, reading, observation, now)
  end

  defp learn(state, reading),
    do: %{state | estimates: Estimates.update(state.estimates, reading), window: %Window{}}

  ## Decisions

  defp cut(state, reading, observation, now) do
    {to, held} = Step.cut(state, reading, observation.limit)
    {near, pace} = Step.pace(held, to)
    chain = Audit.chain(state, reading)

    state = %{
      state
      | chain: chain,
        edge: Estimates.proven(state.estimates) / observation.limit,
        near: near,
        pace: pace,
        hot: 0,
        cool: 0,
        cut_at: now
    }

    if held, do: hold(state, held, reading), else: change(state, to, :cut, reading)
  end

  defp grow(state, reading) do
    case Step.grow(state, reading) do
      {:held, by} ->
        hold(state, by, reading)

      {to, near, pace} ->
        change(%{state | near: near, pace: pace, chain: nil}, to, :grow, reading)
    end
  end

  # Cuts that did not help are taken back, except for a tenth: the audit may be wrong.
  defp audit(state, reading) do
    to = if state.chain, do: max(state.scale, 0.9 * Audit.from(state, reading)), else: state.scale
    sentence = Explain.audit(state, reading, to)
    {estimates, ignored} = Audit.accept(state, reading)

    state = %{
      state
      | estimates: estimates,
        ignored: ignored,
        chain: nil,
        hot: 0,
        steady: 0,
        cool: 0
    }

    {state, decision} = change(state, to, :audit, reading)
    escalate? = match?({:pain, _source}, reading.binding)
    {state, %{decision | sentence: sentence, escalate?: escalate?}}
  end

  defp idle?(observation) do
    observation.in_flight == 0 and observation.denied == 0 and
      Work.finished(observation.fresh) + Work.finished(observation.earlier) == 0 and
      observation.pain == %{}
  end

  defp idle(state) do
    state = %{state | stress: 0.0, binding: nil, chain: nil}
    to = min(min(1.0, state.ceiling), state.scale * 1.05)
    if to > state.scale, do: change(state, to, :idle, nil), else: hold(state, nil, nil)
  end

  defp change(state, to, action, reading) do
    decision = %{decision(state) | scale: to, action: action, news?: true}
    decision = %{decision | sentence: Explain.change(decision, state, reading)}
    {%{state | scale: to, held: nil}, decision}
  end

  # A reason to hold is reported once, not every second.
  defp hold(state, by, reading) do
    sentence = if by, do: Explain.held(by, state, reading)
    news? = by != nil and by != state.held
    {%{state | held: by}, %{decision(state) | held_by: by, sentence: sentence, news?: news?}}
  end

  defp decision(state) do
    %Decision{
      scale: state.scale,
      from: state.scale,
      guard: state.guard,
      stress: state.stress,
      binding: state.binding
    }
  end
end
