defmodule RateLimiter.Adaptive.ClosedLoop do
  @moduledoc """
  The law for a subsystem whose callers report their work: how long it took, and how it ended.

  It watches for a standing queue (the fast quarter of calls became slow: a queue delays every call, a heavy tail only
  some), for failures, and for pain that is told. It acts when that holds for two windows of at least 15 calls or 5
  seconds, and then:

    * **cut** - the scale falls by up to 30 %, not below the rate that was just seen to be answered well
    * **grow** - after two calm windows the scale rises: by 3 % near where it was cut, then by 15 to 20 % a second
    * **audit** - load was taken away and it did not help, or there is no load to take away: what is slow or failing is
      so for another reason. The cut is taken back, and what was seen counts as normal from now on
    * **guard** - besides the rate, calls in flight are bounded by Little's law, as the rate times the time that callers
      can be kept: a rate alone lets a queue grow without bound, above capacity

  What callers can bear is `:target`, or is learned from how long they waited when they gave up, or else is three
  times as long as the work usually takes.

  ## Options

    * `:target` - how long a call may take, in milliseconds. Default: learned
    * `:floor` - the smallest scale. Default: `0.1`
    * `:ceiling` - the largest scale; above 1.0 the limit may grow where it is used up and nothing hurts.
      Default: `1.0`
    * `:scale` - the scale to begin with. Default: `1.0`

  ## Limits of it

  It needs some calls to judge: five a minute say little. A resource that turns calls away at once, without a queue,
  is seen by its failures alone. What depends on who calls (one tenant's calls fail) is not told apart.
  """

  @behaviour RateLimiter.Adaptive

  alias RateLimiter.Adaptive.{Decision, Guard, Observation, Options, Window, Work}
  alias RateLimiter.Adaptive.ClosedLoop.{Audit, Change, Memory, Reading, Words}

  @hot 0.25
  @cool 0.10
  # At least, and three times the median: until then what finishes still tells of the load before the cut.
  @settle_ms 2_000

  defstruct scale: 1.0,
            floor: 0.1,
            ceiling: 1.0,
            target: nil,
            window: %Window{},
            memory: %Memory{},
            # Windows in a row that were hot by load, hot without load, and cool.
            hot: 0,
            steady: 0,
            cool: 0,
            cut_at: nil,
            algedonic_at: nil,
            chain: nil,
            edge: 0.0,
            near: 0,
            pace: 0.15,
            unheard: %{},
            guard: :infinity,
            stress: 0.0,
            binding: nil,
            held: nil

  @impl true
  def new(options),
    do: struct!(__MODULE__, Options.validate!(options, [:scale, :floor, :ceiling, :target]))

  @impl true
  def step(%__MODULE__{} = state, %Observation{} = observation, now_ms) do
    Observation.check!(observation)
    state = %{state | window: Window.add(state.window, observation)}
    state = %{state | unheard: Audit.still_unheard(state.unheard, observation.pain)}

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
        memory: Memory.resize(state.memory, factor),
        chain: Audit.resize(state.chain, factor),
        guard: guard
    }
  end

  ## A full window

  defp judge(state, observation, now) do
    reading = Reading.take(state, observation)
    state = state |> learn(reading) |> count(reading)

    {state, decision} = act(state, reading, observation, now)
    guard = Guard.in_flight(state, reading, observation.limit)
    {%{state | guard: guard}, %{decision | guard: guard}}
  end

  # Between hot and cool is a dead band; a window that says nothing moves nothing.
  defp count(state, %Reading{opinion?: false} = reading),
    do: %{state | stress: reading.stress, binding: reading.binding}

  defp count(state, reading) do
    hot? = reading.stress >= @hot

    %{
      state
      | hot: if(hot? and reading.by_load?, do: state.hot + 1, else: 0),
        steady: if(hot? and not reading.by_load?, do: state.steady + 1, else: 0),
        cool: if(reading.stress <= @cool, do: state.cool + 1, else: 0),
        stress: reading.stress,
        binding: reading.binding
    }
  end

  defp act(state, reading, observation, now) do
    settled = settled?(state, reading, now)

    cond do
      not reading.opinion? -> hold(state, nil, reading)
      state.steady >= 3 -> audited(state, reading)
      settled and Audit.failed?(state, reading) -> audited(state, reading)
      urgent?(state, reading) and settled -> cut(state, reading, observation, now)
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

  defp settled?(state, reading, now) do
    median = if reading.latency, do: reading.latency.p50, else: 0.0
    now - state.cut_at >= max(@settle_ms, 3 * median)
  end

  ## Pain that cannot wait for a full window: one bounded cut a second

  defp algedonic?(state, observation, now) do
    {level, _source} = Audit.loudest(observation.pain, state.unheard)
    level >= 0.9 and (state.algedonic_at == nil or now - state.algedonic_at >= 1_000)
  end

  defp algedonic(state, observation, now) do
    reading = Reading.take(state, observation)
    state = %{state | algedonic_at: now, stress: reading.stress, binding: reading.binding}
    # Out of turn there are too few calls to learn from: they stay for the window's own judgement.
    state = if Window.full?(state.window), do: learn(state, reading), else: state

    if Audit.failed?(state, reading),
      do: audited(state, reading),
      else: cut(state, reading, observation, now)
  end

  defp learn(state, reading),
    do: %{state | memory: Memory.remember(state.memory, reading), window: %Window{}}

  ## Answers

  defp cut(state, reading, observation, now) do
    {to, held} = Change.cut(state, reading, observation.limit)
    chain = Audit.begin(state, reading)

    state = %{
      state
      | chain: chain,
        edge: Memory.proven(state.memory) / observation.limit,
        near: 0,
        pace: 0.15,
        hot: 0,
        cool: 0,
        cut_at: now
    }

    if held, do: hold(state, held, reading), else: change(state, to, :cut, reading)
  end

  defp grow(state, reading) do
    case Change.grow(state, reading) do
      {:held, by} -> hold(state, by, reading)
      {to, near, pace} -> grown(%{state | near: near, pace: pace}, to, reading)
    end
  end

  defp grown(state, to, reading), do: change(%{state | chain: nil}, to, :grow, reading)

  # What was taken away did not help, so it is given back, less a tenth: the audit could be wrong.
  defp audited(state, reading) do
    to = if state.chain, do: max(state.scale, 0.9 * state.chain.scale), else: state.scale
    {memory, unheard} = Audit.accept(state, reading)
    before = state

    state = %{state | memory: memory, unheard: unheard, chain: nil, hot: 0, steady: 0, cool: 0}
    {state, decision} = change(state, to, :audit, reading)

    {state,
     %{
       decision
       | sentence: Words.audit(before, reading, to),
         escalate?: match?({:pain, _source}, reading.binding)
     }}
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
    decision = %{decision | sentence: Words.change(decision, state, reading)}
    {%{state | scale: to, held: nil}, decision}
  end

  # A reason to hold is told once, not every second.
  defp hold(state, by, reading) do
    sentence = if by, do: Words.held(by, state, reading)
    news = by != nil and by != state.held
    {%{state | held: by}, %{decision(state) | held_by: by, sentence: sentence, news?: news}}
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
