defmodule RateLimiter.Instance.Plans do
  @moduledoc false
  # The plans of the limiters of an instance, by name.
  #
  # Each is a row of a table of its own, so that a limiter may have thousands, and a call never reads them: the native
  # library has them, too.

  require RateLimiter.Core.Plan

  alias RateLimiter.Core.{Limit, Plan}
  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry

  @doc "Keeps plans, in place of those of the same name."
  @spec put(Instance.t(), atom, [{Plan.name(), Plan.t()}]) :: true
  def put(%Instance{plans: table}, limiter, plans),
    do: :ets.insert(table, for({name, plan} <- plans, do: {{limiter, name}, plan}))

  @doc "Forgets a plan, and returns whether there was one."
  @spec delete(Instance.t(), atom, Plan.name()) :: boolean
  def delete(%Instance{plans: table}, limiter, name),
    do: :ets.take(table, {limiter, name}) != []

  @doc "Forgets the plans of a limiter."
  @spec clear(Instance.t(), atom) :: true
  def clear(%Instance{plans: table}, limiter), do: :ets.match_delete(table, {{limiter, :_}, :_})

  @doc "Returns the plans of a limiter."
  @spec all(Instance.t(), atom) :: [{Plan.name(), Plan.t()}]
  def all(%Instance{plans: table}, limiter),
    do: :ets.select(table, [{{{limiter, :"$1"}, :"$2"}, [], [{{:"$1", :"$2"}}]}])

  @doc "Returns at most 20 names of a limiter's plans."
  @spec some(atom) :: [Plan.name()]
  def some(limiter) do
    %Instance{plans: table} = Registry.holder!(limiter)

    case :ets.select(table, [{{{limiter, :"$1"}, :_}, [], [:"$1"]}], 20) do
      {names, _more} -> names
      :"$end_of_table" -> []
    end
  end

  @doc "Returns the limits of the windows of a limiter under a plan, or those of the limiter if it is unknown."
  @spec windows!(atom, Plan.chosen()) :: [{atom, Limit.t()}]
  def windows!(limiter, plan) do
    instance = Registry.holder!(limiter)
    {_handle, %{windows: windows}} = Instance.fetch(instance, limiter)
    Plan.apply(windows, plan(instance, limiter, plan))
  end

  defp plan(_instance, _limiter, nil), do: []

  defp plan(%Instance{plans: table}, limiter, name) when Plan.is_name(name) do
    case :ets.lookup(table, {limiter, name}) do
      [{_key, plan}] -> plan
      [] -> []
    end
  end

  defp plan(_instance, _limiter, plan), do: plan
end
