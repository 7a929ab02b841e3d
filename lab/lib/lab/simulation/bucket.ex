defmodule Lab.Simulation.Bucket do
  @moduledoc false
  # The configured limit: a token bucket that holds the tokens of its period.

  defstruct tokens: 0.0, at_ms: 0.0

  @type t :: %__MODULE__{}

  @doc "Returns a full bucket."
  @spec new(number, number) :: t
  def new(rate, seconds \\ 1), do: %__MODULE__{tokens: max(1.0, rate * seconds * 1.0)}

  @doc "Takes a token if there is one. The rate is the limit times its current scale."
  @spec take(t, float, number, number) :: {boolean, t}
  def take(%__MODULE__{tokens: tokens, at_ms: at}, now, rate, seconds \\ 1) do
    tokens = min(max(1.0, rate * seconds), tokens + (now - at) * rate / 1_000)

    if tokens >= 1.0,
      do: {true, %__MODULE__{tokens: tokens - 1.0, at_ms: now}},
      else: {false, %__MODULE__{tokens: tokens, at_ms: now}}
  end
end
