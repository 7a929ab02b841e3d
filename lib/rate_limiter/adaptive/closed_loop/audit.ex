defmodule RateLimiter.Adaptive.ClosedLoop.Audit do
  @moduledoc false
  # Whether shedding helped. Throttling what throttling cannot cure is a death spiral: the scale falls, nothing improves,
  # the scale falls again. So the first cut of a chain records each signal, and later windows are compared with it.

  alias RateLimiter.Adaptive.ClosedLoop.Estimates

  # A chain of cuts: the scale before the first cut, and a mark for each binding signal when it first led to a cut.
  defstruct [:scale, marks: %{}]

  @type t :: %__MODULE__{}
  @type ignored :: %{optional(term) => float}

  @doc "Returns the chain of cuts that a cut starts or continues."
  @spec chain(map, map) :: t
  def chain(state, reading) do
    chain = state.chain || %__MODULE__{scale: state.scale}

    mark = %{
      latency: reading.latency,
      in_flight: reading.in_flight,
      admitted: reading.admitted_rate,
      errors: state.estimates.errors,
      stress: reading.stress
    }

    %{chain | marks: Map.put_new(chain.marks, reading.binding, mark)}
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
    reading.errors < 0.1 and state.scale < 0.8 * state.chain.scale and
      reading.in_flight <= 0.7 * mark.in_flight and now.p25 >= 0.9 * before.p25
  end

  # With many failures, slow calls and lost calls cannot be distinguished, so there is no audit.
  defp unchanged?(:errors, mark, state, reading) do
    errors = state.estimates.errors

    errors < 0.3 and reading.queue <= 0.1 and reading.admitted_rate <= 0.85 * mark.admitted and
      errors >= 0.8 * mark.errors
  end

  # The work goes well, and the scale was halved: load is not the cause of pain that a source still reports.
  defp unchanged?({:pain, _source}, mark, state, reading) do
    reading.queue <= 0.1 and reading.errors - state.estimates.usual_errors < 0.05 and
      state.scale <= 0.5 * state.chain.scale and reading.stress >= 0.9 * mark.stress
  end

  defp unchanged?(_binding, _mark, _state, _reading), do: false

  @doc "Returns the estimates that count the reading as usual, and the sources to ignore."
  @spec accept(map, map) :: {Estimates.t(), ignored}
  def accept(%{estimates: estimates, ignored: ignored}, %{binding: {:pain, source}} = reading),
    do: {estimates, Map.put(ignored, source, reading.stress)}

  def accept(%{estimates: estimates, ignored: ignored}, %{binding: :errors}),
    do: {%{estimates | usual_errors: estimates.errors}, ignored}

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
