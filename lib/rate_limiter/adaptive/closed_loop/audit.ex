defmodule RateLimiter.Adaptive.ClosedLoop.Audit do
  @moduledoc false
  # Whether shedding helped. Throttling what throttling cannot cure is a death spiral: the scale falls, nothing improves,
  # the scale falls again. So the first cut of a chain records each signal, and later windows are compared with it.

  alias RateLimiter.Adaptive.ClosedLoop.Estimates

  # Above this share of failures, load is the cause.
  @most 0.5

  # A chain of cuts: the scale before the first cut, a mark for each binding signal when it led to a cut and was best, and
  # whether most calls failed at a cut.
  defstruct [:scale, marks: %{}, collapsed?: false]

  @type t :: %__MODULE__{}
  @type ignored :: %{optional(term) => float}

  @doc "Returns the chain of cuts that a cut starts or continues."
  @spec chain(map, map) :: t
  def chain(state, reading) do
    chain = state.chain || %__MODULE__{scale: state.scale}

    mark = %{
      scale: state.scale,
      latency: reading.latency,
      in_flight: reading.in_flight,
      admitted: reading.admitted_rate,
      errors: state.estimates.errors,
      stress: reading.stress
    }

    marks = Map.update(chain.marks, reading.binding, mark, &later(reading.binding, &1, mark))
    %{chain | marks: marks, collapsed?: chain.collapsed? or reading.errors > @most}
  end

  # Shedding helped: from now on, it has to help again.
  defp later(:queue, %{latency: %{p25: before}}, %{latency: %{p25: now}} = mark)
       when now < 0.9 * before,
       do: mark

  defp later(:errors, %{errors: before}, %{errors: now} = mark) when now < 0.8 * before, do: mark
  defp later(_binding, before, _mark), do: before

  @doc """
  Returns the scale from which shedding did not help.

  If most calls failed, that is the present one: only growth finds out what the resource can do.
  """
  @spec from(map, map) :: float
  def from(%{chain: %{collapsed?: true}, scale: scale}, _reading), do: scale

  def from(%{chain: chain}, %{binding: binding}) do
    case chain.marks[binding] do
      nil -> chain.scale
      mark -> mark.scale
    end
  end

  @doc "Adjusts a chain to `factor` times as much work."
  @spec resize(t | nil, float) :: t | nil
  def resize(nil, _factor), do: nil

  def resize(chain, factor) do
    resize = fn mark ->
      %{mark | in_flight: mark.in_flight * factor, admitted: mark.admitted * factor}
    end

    %{chain | marks: Map.new(chain.marks, fn {binding, mark} -> {binding, resize.(mark)} end)}
  end

  @doc "Returns whether load was shed since the binding signal was marked, without any change of the signal."
  @spec failed?(map, map) :: boolean
  def failed?(%{chain: nil}, _reading), do: false

  def failed?(%{chain: chain} = state, reading) do
    case chain.marks[reading.binding] do
      nil -> false
      mark -> unchanged?(reading.binding, mark, state, reading)
    end
  end

  # Fewer calls in flight mean a shorter queue: a latency that stays is not caused by the queue.
  defp unchanged?(:queue, %{latency: before} = mark, state, %{latency: now} = reading)
       when before != nil and now != nil do
    fewer? = state.scale < 0.8 * mark.scale and reading.in_flight <= 0.7 * mark.in_flight
    # At the floor, no more can be shed.
    least? = mark.scale <= state.floor and reading.errors <= @most

    ((fewer? and not cut_off?(state, reading)) or least?) and now.p25 >= 0.9 * before.p25
  end

  # With many failures, slow calls and lost calls cannot be distinguished, so there is no audit.
  defp unchanged?(:errors, mark, state, reading) do
    errors = state.estimates.errors

    {few?, fewer} =
      if reading.queue <= 0.1,
        do: {errors < 0.3, 0.85},
        else: {errors < @most and not cut_off?(state, reading), 0.7}

    few? and reading.admitted_rate <= fewer * mark.admitted and errors >= 0.8 * mark.errors
  end

  # The work goes well, and the scale was halved: load is not the cause of pain that a source still reports.
  defp unchanged?({:pain, _source}, mark, state, reading) do
    reading.queue <= 0.1 and reading.errors - state.estimates.usual_errors < 0.05 and
      state.scale <= 0.5 * state.chain.scale and reading.stress >= 0.9 * mark.stress
  end

  defp unchanged?(_binding, _mark, _state, _reading), do: false

  # If slow calls time out, the latency of the others does not show how slow the work is.
  defp cut_off?(_state, %{errors: errors}) when errors < 0.1, do: false
  defp cut_off?(_state, %{errors: errors}) when errors > @most, do: true
  defp cut_off?(%{estimates: %{patience: nil}}, _reading), do: true

  defp cut_off?(%{estimates: %{patience: patience}}, %{latency: %{p25: p25}}),
    do: p25 > patience / 2

  @doc "Returns the estimates that count the reading as usual, and the sources to ignore."
  @spec accept(map, map) :: {Estimates.t(), ignored}
  def accept(%{estimates: estimates, ignored: ignored}, %{binding: {:pain, source}} = reading),
    do: {estimates, Map.put(ignored, source, reading.stress)}

  def accept(%{estimates: estimates, ignored: ignored}, %{binding: :errors} = reading) do
    base = if reading.queue > 0.1, do: reading.latency, else: estimates.base
    {%{estimates | usual_errors: estimates.errors, base: base}, ignored}
  end

  def accept(%{estimates: estimates, ignored: ignored}, reading),
    do: {%{estimates | base: reading.latency || estimates.base}, ignored}

  @doc "Returns the strongest pain and its source, without ignored sources."
  @spec strongest(%{optional(term) => number}, ignored) :: {number, term}
  def strongest(pain, ignored) do
    pain
    |> Map.drop(Map.keys(ignored))
    |> Enum.map(fn {source, level} -> {level, source} end)
    |> Enum.max(fn -> {0.0, nil} end)
  end

  @doc "Returns the sources that stay ignored: those that have reported pain without a pause."
  @spec still_ignored(ignored, %{optional(term) => number}) :: ignored
  def still_ignored(ignored, pain),
    do: Map.filter(ignored, fn {source, _level} -> Map.get(pain, source, 0.0) >= 0.1 end)
end
