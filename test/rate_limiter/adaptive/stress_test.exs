defmodule RateLimiter.Adaptive.StressTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Stress

  doctest Stress

  test "stress is 0, 0.5 and 1 at the thresholds and linear between them" do
    for {ok, warn, crit} = curve <- [{0.5, 1.25, 2.0}, {0.02, 0.135, 0.25}, {100, 1_000, 10_000}] do
      assert Stress.level(ok, curve) == 0.0
      assert_in_delta Stress.level(warn, curve), 0.5, 1.0e-9
      assert Stress.level(crit, curve) == 1.0
      assert_in_delta Stress.level((ok + warn) / 2, curve), 0.25, 1.0e-9
      assert_in_delta Stress.level((warn + crit) / 2, curve), 0.75, 1.0e-9
      assert Stress.level(0, curve) == 0.0
      assert Stress.level(1.0e12, curve) == 1.0
    end
  end

  test "missing readings are ignored, and without any there is no stress" do
    curves = %{memory: {0.70, 0.80, 0.92}}
    assert Stress.greatest(%{memory: nil, unknown: 5}, curves) == {0.0, nil}
    assert Stress.greatest(%{}, curves) == {0.0, nil}
  end

  test "of equal readings, always the same one is the greatest" do
    curves = %{a: {0, 1, 2}, b: {0, 1, 2}}
    assert Stress.greatest(%{a: 1, b: 1}, curves) == Stress.greatest(%{b: 1, a: 1}, curves)
  end
end
