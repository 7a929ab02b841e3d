defmodule RateLimiter.Top.History do
  @moduledoc false
  # Calls and denials per second of each instance at the last readings, so that a spike between two looks can be seen.

  @readings 60

  @typedoc "Rates of an instance, the newest first."
  @type t :: %{optional(String.t()) => [{calls :: non_neg_integer, denied :: non_neg_integer}]}

  @doc "Adds the rates of instances, as `RateLimiter.Top.Figures` returns them. Forgets instances that have stopped."
  @spec add(t, [map]) :: t
  def add(history, instances) do
    for %{name: name, rates: rates} <- instances, into: %{} do
      newest = if rates, do: [{rates.calls, rates.denied}], else: []
      {name, Enum.take(newest ++ Map.get(history, name, []), @readings)}
    end
  end
end
