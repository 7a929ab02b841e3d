defmodule RateLimiter.Adaptive.ClosedLoop.Explain do
  @moduledoc false
  # The sentences of the closed loop's decisions: why the scale changed or did not change, with the numbers.

  alias RateLimiter.Adaptive.ClosedLoop.Estimates
  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Core.{Numbers, Options}

  @doc "Explains a change."
  @spec change(Decision.t(), map, map | nil) :: String.t()
  def change(%{action: :idle} = decision, _state, _reading),
    do: "No calls arrive: the scale returns #{from_to(decision)}."

  def change(%{action: :cut} = decision, state, reading) do
    "#{cause(state, reading)}: the scale is cut #{from_to(decision)}. Recently #{proven(state)}."
  end

  def change(%{action: :grow} = decision, _state, reading) do
    "Two calm windows (stress #{number(reading.stress)}): the scale grows #{from_to(decision)}."
  end

  def change(decision, _state, _reading),
    do: "The scale changes #{from_to(decision)}."

  @doc "Explains an audit."
  @spec audit(map, map, float) :: String.t()
  def audit(state, %{binding: {:pain, source}} = reading, to) do
    "#{Options.show(source)} still reports pain #{number(reading.stress)} although #{was_cut(state)} and the work goes well: " <>
      "the source is ignored until it reports no pain, and the scale is #{number(to)}."
  end

  def audit(state, %{binding: :errors}, to) do
    "#{Numbers.percent(state.estimates.errors)} of calls fail although fewer are admitted: the failures do not come " <>
      "from load. They count as usual, and the scale is #{number(to)}."
  end

  def audit(%{chain: nil} = state, reading, to) do
    "The fastest quarter of calls rose from #{ms(state.estimates.base.p25)} to #{ms(reading.latency.p25)}, but no calls " <>
      "are denied and none pile up: the latency is load-insensitive, and shedding would not help. It counts as usual, " <>
      "and the scale stays #{number(to)}."
  end

  def audit(state, reading, to) do
    "The fastest quarter of calls still takes #{ms(reading.latency.p25)} although #{was_cut(state)} and fewer calls are " <>
      "in flight: the latency is load-insensitive. It counts as usual, and the scale is #{number(to)}."
  end

  @doc "Explains why the scale was held."
  @spec held(atom, map, map | nil) :: String.t()
  def held(:confirming, state, reading),
    do: "#{cause(state, reading)}: the scale is cut if a second window confirms it."

  def held(:settling, state, reading),
    do: "#{cause(state, reading)}: the last cut has not yet taken full effect."

  def held(:not_load, state, reading) do
    "#{cause(state, reading)}, but no calls are denied and none pile up: shedding would not help, so the scale stays " <>
      "#{number(state.scale)}."
  end

  def held(:floor, state, reading),
    do: "#{cause(state, reading)}: the scale is at its floor, #{number(state.floor)}."

  def held(:proven, state, reading) do
    "#{cause(state, reading)}: the scale stays #{number(state.scale)}, because recently #{proven(state)}."
  end

  def held(:dead_band, state, reading) do
    "Stress #{number(reading.stress)} (#{name(state.binding)}) is too high to grow and too low to cut: the scale stays " <>
      "#{number(state.scale)}."
  end

  def held(:guard, state, reading) do
    "Calm, but #{Numbers.percent(reading.guarded_share)} of calls were denied because #{state.guard} were in flight: the " <>
      "scale stays #{number(state.scale)}."
  end

  def held(:ceiling, state, _reading),
    do: "Calm, and calls are denied, but the scale is at its ceiling, #{number(state.ceiling)}."

  defp cause(_state, %{binding: {:pain, source}} = reading),
    do: "#{Options.show(source)} reports pain #{number(reading.stress)}"

  defp cause(state, %{binding: :errors} = reading) do
    usual = state.estimates.usual_errors
    usually = if usual > 0.005, do: " (usually #{Numbers.percent(usual)})", else: ""

    "#{Numbers.percent(reading.errors)} of calls fail#{usually}, stress #{number(reading.stress)}"
  end

  defp cause(state, reading) do
    "The fastest quarter of calls takes up to #{ms(reading.latency.p25)}, usually #{ms(state.estimates.base.p25)} (a " <>
      "standing queue, stress #{number(reading.stress)})"
  end

  defp was_cut(state),
    do: "the scale was cut from #{number(state.chain.scale)} to #{number(state.scale)}"

  defp proven(state),
    do: "#{number(Estimates.proven(state.estimates))} calls per second were answered well"

  defp name(nil), do: "no signal"
  defp name({:pain, source}), do: "pain of #{Options.show(source)}"
  defp name(name), do: to_string(name)

  defp from_to(decision), do: Numbers.from_to(decision.from, decision.scale)
  defp ms(value), do: "#{Numbers.decimal(value, 1)} ms"
  defp number(value), do: Numbers.number(value / 1)
end
