defmodule RateLimiter.Adaptive.Signals do
  @moduledoc """
  The law for a subsystem without reported work: pain lowers the scale; the absence of pain, and pleasure, raise it.

  Pain and pleasure are smoothed, and the strongest source of each counts. Pain above 0.15 lowers the scale by up to
  30 % per second. Below 0.11, the scale rises by 1 % per second, with pleasure by up to 10 %, and by a third of that
  just below the last cut. Between 0.11 and 0.15 is a dead band. Pain of 0.9 or more is not smoothed and acts at once.

  The law gives up on pain that lasts 30 seconds after the scale has reached its floor, or that did not fall while the
  scale was halved: it freezes the scale, and its decision has `escalate?`.

  ## Options

    * `:floor` - the smallest scale. Default: `0.1`
    * `:ceiling` - the largest scale. Default: `1.0`
    * `:scale` - the initial scale. Default: `1.0`

  If pain is `k * ln(load / capacity)` and arrives `d` steps late, the loop is stable while `0.3 * k` is below
  `2 * sin(pi / (2 * (2 * d + 1)))`. Half of that is a good bound.
  """

  @behaviour RateLimiter.Adaptive

  alias RateLimiter.Adaptive
  alias RateLimiter.Adaptive.{Decision, Observation}
  alias RateLimiter.Core.{Numbers, Options}

  @pain_memory 0.4
  @pleasure_memory 0.7
  @felt 0.15
  @calm 0.11
  @urgent 0.9
  @max_cut 0.3
  # From this share of the scale before the last cut on, and for this many steps, growth is slow.
  @near 0.93
  @near_steps 5
  @patience_ms 30_000
  @max_s 5.0

  defstruct scale: 1.0,
            floor: 0.1,
            ceiling: 1.0,
            pain: 0.0,
            pleasure: 0.0,
            cut_at: nil,
            edge: nil,
            near: 0,
            chain: nil,
            floor_since: nil,
            frozen: false,
            held: nil

  @impl true
  def new(options),
    do: struct!(__MODULE__, Adaptive.validate!(options, [:scale, :floor, :ceiling]))

  @impl true
  def step(%__MODULE__{} = state, %Observation{} = observation, now_ms) do
    Observation.check!(observation)
    seconds = min(observation.elapsed_ms / 1_000, @max_s)
    {pain, source} = strongest(observation.pain)
    {pleasure, _source} = strongest(observation.pleasure)

    state = %{
      state
      | pain: smooth(state.pain, pain, @pain_memory, seconds),
        pleasure: smooth(state.pleasure, pleasure, @pleasure_memory, seconds)
    }

    act(state, %{pain: pain, source: source, seconds: seconds, now: now_ms})
  end

  defp act(state, seen) do
    urgent? = seen.pain >= @urgent
    felt = if urgent?, do: max(state.pain, seen.pain), else: state.pain

    cond do
      felt <= @calm -> recover(state, seen)
      state.frozen -> hold(state, :frozen, felt, seen)
      hopeless?(state, seen.now) -> freeze(state, felt, seen)
      felt <= @felt -> hold(state, :dead_band, felt, seen)
      urgent? -> urgent(state, felt, seen)
      true -> cut(state, felt, seen, min(seen.seconds, 1.0))
    end
  end

  # Urgent steps come at any time, so cut at most once per second.
  defp urgent(%{cut_at: at} = state, felt, %{now: now} = seen)
       when at != nil and now - at < 1_000,
       do: hold(state, :settling, felt, seen)

  defp urgent(state, felt, seen), do: cut(state, felt, seen, 1.0)

  defp cut(state, felt, seen, share) do
    factor = :math.pow(1 - @max_cut * strength(felt), share)
    to = max(state.floor, state.scale * factor)
    chain = state.chain || %{scale: state.scale, pain: felt}
    state = %{state | chain: chain, near: 0}

    if to < state.scale do
      change(%{state | edge: state.scale, cut_at: seen.now}, to, :cut, felt, seen)
    else
      hold(%{state | floor_since: state.floor_since || seen.now}, :floor, felt, seen)
    end
  end

  defp hopeless?(%{chain: nil}, _now), do: false

  defp hopeless?(state, now) do
    halved? = state.scale <= 0.5 * state.chain.scale and state.pain >= 0.9 * state.chain.pain
    halved? or (state.floor_since != nil and now - state.floor_since >= @patience_ms)
  end

  defp freeze(state, felt, seen) do
    {state, decision} = hold(%{state | frozen: true}, :frozen, felt, seen)
    {state, %{decision | escalate?: true}}
  end

  defp recover(state, seen) do
    state = %{state | chain: nil, floor_since: nil, frozen: false}
    near? = state.edge != nil and state.near < @near_steps and near?(state)
    gain = min(0.10, 0.01 + 0.10 * strength(state.pleasure))
    gain = if near?, do: gain / 3, else: gain
    to = min(state.ceiling, state.scale * :math.pow(1 + gain, seen.seconds))

    # Only pleasure raises the scale above the configured limit.
    to = if state.scale >= 1.0 and strength(state.pleasure) == 0.0, do: state.scale, else: to

    if to > state.scale,
      do: change(%{state | near: state.near + 1}, to, :grow, state.pain, seen),
      else: hold(state, nil, state.pain, seen)
  end

  defp near?(state), do: state.scale >= @near * state.edge and state.scale < state.edge

  ## Answers

  defp change(state, to, action, felt, seen) do
    decision = %{decision(state, felt, seen) | scale: to, action: action, news?: true}
    sentence = "#{cause(action, felt, state, seen)} #{Numbers.from_to(state.scale, to)}."
    {%{state | scale: to, held: nil}, %{decision | sentence: sentence}}
  end

  defp hold(state, by, felt, seen) do
    sentence = if by, do: held(by, felt, state, seen)

    {%{state | held: by},
     %{
       decision(state, felt, seen)
       | held_by: by,
         sentence: sentence,
         news?: by not in [nil, state.held]
     }}
  end

  defp decision(state, felt, seen) do
    binding = if felt > @felt and seen.source, do: {:pain, seen.source}
    %Decision{scale: state.scale, from: state.scale, stress: strength(felt), binding: binding}
  end

  defp cause(:cut, felt, _state, seen),
    do: "Pain of #{number(felt)}#{from(seen)}: the scale is cut"

  defp cause(:grow, felt, %{pleasure: pleasure}, _seen),
    do: "Pain is #{number(felt)}, pleasure #{number(pleasure)}: the scale grows"

  defp held(:dead_band, felt, state, _seen) do
    "Pain of #{number(felt)} is too high to grow and too low to cut: the scale stays #{number(state.scale)}."
  end

  defp held(:settling, felt, _state, seen),
    do: "Pain of #{number(felt)}#{from(seen)}, but the scale was cut less than a second ago."

  defp held(:floor, felt, state, seen),
    do: "Pain of #{number(felt)}#{from(seen)}: the scale is at its floor, #{number(state.floor)}."

  defp held(:frozen, felt, state, seen) do
    "Pain of #{number(felt)}#{from(seen)} did not fall with the scale: the scale stays #{number(state.scale)}, and the " <>
      "pain is escalated."
  end

  defp from(%{source: nil}), do: ""
  defp from(%{source: source}), do: " from #{Options.show(source)}"

  defp strongest(levels) do
    levels
    |> Enum.map(fn {source, level} -> {level, source} end)
    |> Enum.max(fn -> {0.0, nil} end)
  end

  defp smooth(old, new, memory, seconds), do: new + (old - new) * :math.pow(memory, seconds)
  defp strength(value), do: max(0.0, value - @felt) / (1 - @felt)
  defp number(value), do: Numbers.number(value / 1)
end
