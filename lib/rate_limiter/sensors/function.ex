defmodule RateLimiter.Sensors.Function do
  @moduledoc false
  # A sensor of the application that is a function.

  @behaviour RateLimiter.Health

  alias RateLimiter.Core.Options

  @impl true
  def init(options), do: Keyword.fetch!(options, :measure)

  @impl true
  def measure(fun) do
    case fun.() do
      value when is_number(value) -> {:ok, value, fun}
      other -> {:no_opinion, "expected a number, got: #{Options.show(other)}", fun}
    end
  end
end
