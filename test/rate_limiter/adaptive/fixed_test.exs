defmodule RateLimiter.Adaptive.FixedTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.{Fixed, Observation}

  test "the scale never changes, whatever is observed" do
    :rand.seed(:exsss, 2)

    for scale <- [0.0, 0.3, 1.0] do
      state = Fixed.new(scale: scale)

      Enum.reduce(1..50, state, fn now, state ->
        observation = %Observation{
          elapsed_ms: 1_000,
          asked: :rand.uniform(100),
          pain: %{db: :rand.uniform()}
        }

        {state, decision} = Fixed.step(state, observation, now * 1_000)
        assert {decision.scale, decision.from} == {scale, scale}
        state
      end)
    end
  end

  test "without an option the limit is as configured" do
    {_state, decision} = Fixed.step(Fixed.new([]), %Observation{elapsed_ms: 1}, 0)
    assert decision.scale == 1.0
  end
end
