defmodule RateLimiter.Sensors.FunctionTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Sensors.Function

  test "a number is the reading" do
    for value <- [0, -1, 1.5] do
      fun = Function.init(measure: fn -> value end)
      assert Function.measure(fun) === {:ok, value, fun}
    end
  end

  test "anything else is no opinion, and says what it was" do
    for value <- [nil, :ok, "1", {:ok, 1}] do
      fun = fn -> value end
      assert {:no_opinion, reason, ^fun} = Function.measure(fun)
      assert reason == "expected a number, got: #{inspect(value)}"
    end
  end
end
