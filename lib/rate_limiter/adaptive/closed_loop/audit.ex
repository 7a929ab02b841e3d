defmodule RateLimiter.Adaptive.ClosedLoop.Audit do
  @moduledoc false
  # Whether shedding helped. Throttling what throttling cannot cure is a death spiral: the scale falls, nothing gets
  # better, the scale falls. So the first cut of a chain marks how things were, and later windows are held against it.

  alias RateLimiter.Adaptive.ClosedLoop.Memory

  # A chain of cuts: the scale before it, and how each signal that bound stood when it first did.
  defstruct [:scale, marks: %{}]

  @type t :: %__MODULE__{}
  @type unheard :: %{optional(term) => float}

  @doc "The chain that a cut begins or goes on with."
  @spec begin(map, map) :: t
  def begin(state, reading) do
    chain = state.chain || %__MODULE__{scale: state.scale}

    mark = %{
      latency: reading.latency,
      in_flight: reading.in_flight,
      admitted: reading.admitted_rate,
      errors: state.memory.errors,
      stress: reading.stress
    }

    %{chain | marks: Map.put_new(chain.marks, reading.binding, mark)}
  end

  @doc "The chain of so many times as much work."
  @spec resize(t | nil, float) :: t | nil
  def resize(nil, _factor), do: nil

  def resize(chain, factor) do
    more = fn mark ->
      %{mark | in_flight: mark.in_flight * factor, admitted: mark.admitted * factor}
    end

    %{chain | marks: Map.new(chain.marks, fn {binding, mark} -> {binding, more.(mark)} end)}
  end

  @doc "Whether load was taken away since this signal first bound, and the signal stayed where it was."
  @spec failed?(map, map) :: boolean
  def failed?(%{chain: nil}, _reading), do: false

  def failed?(%{chain: chain} = state, reading) do
    case chain.marks[reading.binding] do
      nil -> false
      mark -> unmoved?(reading.binding, mark, state, reading)
    end
  end

  # Fewer calls in flight are a shorter queue: a latency that stays is none of the queue's.
  defp unmoved?(:queue, %{latency: before} = mark, state, %{latency: now} = reading)
       when before != nil and now != nil do
    reading.errors < 0.1 and state.scale < 0.8 * state.chain.scale and
      reading.in_flight <= 0.7 * mark.in_flight and now.p25 >= 0.9 * before.p25
  end

  # With many failures, what is slow and what is lost cannot be told apart: then it is no audit.
  defp unmoved?(:errors, mark, state, reading) do
    errors = state.memory.errors

    errors < 0.3 and reading.queue <= 0.1 and reading.admitted_rate <= 0.85 * mark.admitted and
      errors >= 0.8 * mark.errors
  end

  # The work is well, and the scale was halved: who still says that it hurts is not hurt by this.
  defp unmoved?({:pain, _source}, mark, state, reading) do
    reading.queue <= 0.1 and reading.errors - state.memory.usual_errors < 0.05 and
      state.scale <= 0.5 * state.chain.scale and reading.stress >= 0.9 * mark.stress
  end

  defp unmoved?(_binding, _mark, _state, _reading), do: false

  @doc "What counts as usual from now on, and whom not to hear."
  @spec accept(map, map) :: {Memory.t(), unheard}
  def accept(%{memory: memory, unheard: unheard}, %{binding: {:pain, source}} = reading),
    do: {memory, Map.put(unheard, source, reading.stress)}

  def accept(%{memory: memory, unheard: unheard}, %{binding: :errors}),
    do: {%{memory | usual_errors: memory.errors}, unheard}

  def accept(%{memory: memory, unheard: unheard}, reading),
    do: {%{memory | base: reading.latency || memory.base}, unheard}

  @doc "The greatest pain of those that are heard, and whose it is."
  @spec loudest(%{optional(term) => number}, unheard) :: {number, term}
  def loudest(pain, unheard) do
    pain
    |> Map.drop(Map.keys(unheard))
    |> Enum.map(fn {source, level} -> {level, source} end)
    |> Enum.max(fn -> {0.0, nil} end)
  end

  @doc "Whoever falls silent is heard again when it next speaks."
  @spec still_unheard(unheard, %{optional(term) => number}) :: unheard
  def still_unheard(unheard, pain),
    do: Map.filter(unheard, fn {source, _level} -> Map.get(pain, source, 0.0) >= 0.1 end)
end
