defmodule RateLimiter.Adaptive.ClosedLoop.Words do
  @moduledoc false
  # Why the scale changed, or why it did not, with the numbers, for people.

  alias RateLimiter.Adaptive.FromTo
  alias RateLimiter.Adaptive.ClosedLoop.Memory

  @doc "Of a change."
  @spec change(map, map, map | nil) :: String.t()
  def change(%{action: :idle} = decision, _state, _reading),
    do: "Nobody calls: the scale returns #{from_to(decision)}."

  def change(%{action: :cut} = decision, state, reading),
    do: "#{why(state, reading)}: the scale is cut #{from_to(decision)}.#{proven(state)}"

  def change(%{action: :grow} = decision, _state, reading) do
    "Calm for two windows (stress #{number(reading.stress)}): the scale grows #{from_to(decision)}."
  end

  def change(decision, _state, _reading), do: "The scale goes #{from_to(decision)}."

  @doc "Of an audit."
  @spec audit(map, map, float) :: String.t()
  def audit(state, %{binding: {:pain, source}} = reading, to) do
    "#{inspect(source)} still tells of pain #{number(reading.stress)} although the scale was cut from " <>
      "#{number(state.chain.scale)} to #{number(state.scale)} and the work is well: it is not heard until it falls " <>
      "silent, and the scale is #{number(to)}."
  end

  def audit(state, %{binding: :errors}, to) do
    "#{percent(state.memory.errors)} of calls fail although fewer are let in: the failures do not come from load. " <>
      "They count as usual, and the scale is #{number(to)}."
  end

  def audit(%{chain: nil} = state, reading, to) do
    "The fast quarter of calls rose from #{ms(state.memory.base.p25)} to #{ms(reading.latency.p25)}, but nothing is " <>
      "turned away and nothing piles up: this is load-insensitive, shedding would not help. It counts as usual, and " <>
      "the scale stays #{number(to)}."
  end

  def audit(state, reading, to) do
    "The fast quarter of calls stays at #{ms(reading.latency.p25)} although the scale was cut from " <>
      "#{number(state.chain.scale)} to #{number(state.scale)} and fewer calls are in flight: this is " <>
      "load-insensitive. It counts as usual, and the scale is #{number(to)} again."
  end

  @doc "Of wanting to, but not doing."
  @spec held(atom, map, map | nil) :: String.t()
  def held(:confirming, state, reading),
    do: "#{why(state, reading)}: a second window has to confirm it before the scale is cut."

  def held(:settling, state, reading),
    do: "#{why(state, reading)}: the last cut has not yet had the time to work."

  def held(:not_load, state, reading) do
    "#{why(state, reading)}, but nothing is turned away and nothing piles up: shedding would not help, so the scale " <>
      "stays #{number(state.scale)}."
  end

  def held(:floor, state, reading),
    do: "#{why(state, reading)}: the scale is at its floor, #{number(state.floor)}."

  def held(:proven, state, reading),
    do: "#{why(state, reading)}: the scale is not cut.#{proven(state)}"

  def held(:dead_band, state, reading) do
    "Stress #{number(reading.stress)} (#{name(state.binding)}) is too much to grow and too little to cut: the scale " <>
      "stays #{number(state.scale)}."
  end

  def held(:guard, state, reading) do
    "Calm, but the scale does not grow from #{number(state.scale)}: #{percent(reading.guarded_share)} of calls were " <>
      "turned away because #{state.guard} were in flight."
  end

  def held(:ceiling, state, _reading),
    do: "Calm, and calls are denied, but the scale is at its ceiling, #{number(state.ceiling)}."

  defp why(_state, %{binding: {:pain, source}} = reading),
    do: "#{inspect(source)} tells of pain #{number(reading.stress)}"

  defp why(state, %{binding: :errors} = reading) do
    usual = state.memory.usual_errors
    usually = if usual > 0.005, do: " (usually #{percent(usual)})", else: ""
    "#{percent(reading.errors)} of calls fail#{usually}, stress #{number(reading.stress)}"
  end

  defp why(state, reading) do
    "#{latency(reading)}, usually #{ms(state.memory.base.p25)} (a standing queue, stress " <>
      "#{number(reading.stress)})"
  end

  defp latency(%{latency: nil}), do: "No call succeeded"
  defp latency(%{latency: latency}), do: "A quarter of calls take up to #{ms(latency.p25)}"

  defp proven(state),
    do: " #{number(Memory.proven(state.memory))} calls a second were answered well lately."

  defp name(nil), do: "nothing"
  defp name({:pain, source}), do: "pain of #{inspect(source)}"
  defp name(name), do: to_string(name)

  defp from_to(decision), do: FromTo.words(decision.from, decision.scale)
  defp percent(share), do: "#{Float.round(share * 100.0, 1)} %"
  defp ms(value), do: "#{Float.round(value * 1.0, 1)} ms"
  defp number(value), do: "#{Float.round(value * 1.0, 2)}"
end
