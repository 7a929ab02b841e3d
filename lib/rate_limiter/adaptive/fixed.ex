defmodule RateLimiter.Adaptive.Fixed do
  @moduledoc """
  The law that never changes the scale.

  Option: `:scale` - the constant scale. Default: `1.0`, the limit as configured.
  """

  @behaviour RateLimiter.Adaptive

  alias RateLimiter.Adaptive.{Decision, Observation}

  @impl true
  def new(options), do: Keyword.get(options, :scale, 1.0)

  @impl true
  def step(scale, %Observation{} = observation, _now_ms) do
    Observation.check!(observation)
    {scale, %Decision{scale: scale, from: scale}}
  end
end
