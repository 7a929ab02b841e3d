defmodule RateLimiter.Limits.ChangeTest do
  # Invalid limits are in test/rate_limiter/limits_test.exs.
  use ExUnit.Case, async: true

  alias RateLimiter.Instance.Config
  alias RateLimiter.Limits.Change

  defp config(options), do: Config.limiter!(options, [])

  @a [windows: [w: [limit: 5, per: :minute], v: [limit: 9, per: :day]]]

  test "steps/3 has additions first, and no step for what stays as it is" do
    current = [a: config(@a)]
    same = [a: [windows: [w: [limit: 5, per: {60, :second}]], events: :all]]
    assert Change.steps(same, current, :local) == {:ok, []}

    new = [a: [windows: [w: [limit: 6, per: :minute]]], b: @a]

    assert {:ok, [{:add, :b, _}, {:update, :a, [{:w, from, to}]}] = steps} =
             Change.steps(new, current, :local)

    assert {from.limit, to.limit} == {5, 6}

    after_it = Change.apply(steps, current)
    assert after_it == [a: Change.update(current[:a], [{:w, from, to}]), b: config(@a)]
    assert Change.steps(new, after_it, :local) == {:ok, []}
    assert [{:added, [:b], windows}, {:changed, [:a, :w, :limit], 5, 6}] = Change.diff(steps)
    assert windows == Change.windows(config(@a))
  end

  test "steps/3 refuses what the store cannot keep" do
    new = [a: [windows: [w: [algorithm: :sliding_log, limit: 5_000, per: :minute]]]]
    assert {:ok, [_]} = Change.steps(new, [], :local)
    assert {:error, [reason]} = Change.steps(new, [], {:redis, 1})
    assert reason =~ ~r/^a\.windows\.w\.limit: expected at most 1000/
  end
end
