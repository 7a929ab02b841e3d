defmodule RateLimiter.Instance.PlansTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Core.Limit
  alias RateLimiter.Instance
  alias RateLimiter.Instance.Plans

  test "keeps the plans of each limiter" do
    instance = Instance.new(name: :plans)
    Plans.put(instance, :api, [{:pro, [w: [limit: 5]]}, {"7", [w: [limit: 7]]}])
    Plans.put(instance, :mail, pro: [w: [limit: 6]])

    assert Map.new(Plans.all(instance, :api)) == %{
             :pro => [w: [limit: 5]],
             "7" => [w: [limit: 7]]
           }

    Plans.put(instance, :api, pro: [w: [limit: 8]])
    assert {:pro, [w: [limit: 8]]} in Plans.all(instance, :api)

    assert Plans.delete(instance, :api, "7")
    refute Plans.delete(instance, :api, "7")
    assert Plans.all(instance, :api) == [pro: [w: [limit: 8]]]

    Plans.clear(instance, :api)
    assert Plans.all(instance, :api) == []
    assert Plans.all(instance, :mail) == [pro: [w: [limit: 6]]]
  end

  describe "of a limiter" do
    setup do
      plans = for number <- 1..30, do: {"plan #{number}", [w: [limit: number]]}
      windows = [w: [limit: 100, per: :second], other: [limit: 9, per: :day]]
      RateLimiter.Test.start(limiters: [planned: [windows: windows, plans: plans]])
    end

    test "some/1 returns a few names" do
      assert length(Plans.some(:planned)) == 20
      assert Enum.all?(Plans.some(:planned), &String.starts_with?(&1, "plan "))
    end

    test "windows!/2 returns the limits under a plan" do
      limits = fn plan ->
        for {_w, %Limit{limit: limit}} <- Plans.windows!(:planned, plan), do: limit
      end

      assert limits.(nil) == [100, 9]
      assert limits.("plan 7") == [7, 9]
      assert limits.(other: [limit: 3]) == [100, 3]
      # Of a plan that was removed since.
      assert limits.(:gone) == [100, 9]
    end
  end
end
