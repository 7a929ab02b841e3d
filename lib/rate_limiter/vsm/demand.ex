defmodule RateLimiter.VSM.Demand do
  @moduledoc false
  # How many calls a second usually ask, and how many one must be ready for.

  # Over how long the usual is reckoned.
  @span_ms 10_000

  @doc "The usual demand, after so many milliseconds of this one."
  @spec usual(float, number, pos_integer) :: float
  def usual(usual, demand, ms), do: demand + (usual - demand) * :math.exp(-ms / @span_ms)

  @doc """
  The demand that may come.

  Calls come by chance: where a span has brought so many, the next one may well bring so many more. One that is seldom
  called, such as the emergency stop, is so never taken for one that nobody needs.
  """
  @spec ready_for(float) :: float
  def ready_for(usual) do
    span = @span_ms / 1_000
    calls = usual * span
    (calls + 2 * :math.sqrt(calls) + 1) / span
  end
end
