defmodule RateLimiter.Core.PlanTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Core.{Limit, Plan}

  @limits [
    burst: [limit: 10, per: :second],
    daily: [algorithm: :fixed_window, limit: 100, per: :day]
  ]

  defp windows, do: for({name, options} <- @limits, do: {name, Limit.new!(options, [])})

  test "new!/3 returns the changes of each window, of a keyword list or a map" do
    plan = [burst: [limit: 50, per: :minute], daily: [limit: 7]]
    assert Plan.new!(plan, windows(), []) == plan
    assert Plan.new!(%{burst: %{limit: 50}}, windows(), []) == [burst: [limit: 50]]
    assert Plan.new!([], windows(), []) == []
  end

  test "new!/3 raises with the path of what is wrong" do
    for {plan, message} <- [
          {[burst: [limit: 0]], "plan.burst.limit: expected a positive integer, got: 0"},
          {[burst: []], "plan.burst: expected at least one of"},
          {[burst: [algorithm: :gcra]], "plan.burst: unknown option :algorithm"},
          {[daily: [burst: 5]], "plan.daily.burst: applies to :token_bucket only"},
          {[burst: [limit: 5, per: :eon]], "plan.burst.per: expected a period"},
          {[daily: [per: :day]],
           "plan.daily.per: a plan has a period of its own for :token_bucket only, but the algorithm is :fixed_window"},
          {[hourly: [limit: 5]], "plan.hourly: expected a window of the limiter"},
          {[burst: 5], "plan.burst: expected a keyword list"},
          {5, "plan: expected a keyword list"}
        ] do
      error = assert_raise ArgumentError, fn -> Plan.new!(plan, windows(), [:plan]) end
      assert error.message =~ message
    end
  end

  test "all!/3 takes names that are atoms or strings, each once" do
    plans = [{:pro, [burst: [limit: 50]]}, {"customer 7", [daily: [limit: 7]]}]
    assert Plan.all!(plans, windows(), []) == plans
    assert Plan.all!(Map.new(plans), windows(), []) == Enum.sort(plans)
    assert Plan.all!([], windows(), []) == []

    for {plans, message} <- [
          {[{7, []}], "plans: expected the name of a plan"},
          {[{nil, []}], "plans: expected the name of a plan"},
          {[{String.duplicate("a", 256), []}], "plans: expected the name of a plan"},
          {[pro: [], pro: []], "plans: :pro is given twice"},
          {[pro: [burst: [limit: -1]]], "plans.pro.burst.limit: expected"},
          {:pro, "plans: expected plans by name"},
          {[:pro], "plans: expected plans by name"}
        ] do
      error = assert_raise ArgumentError, fn -> Plan.all!(plans, windows(), [:plans]) end
      assert error.message =~ message
    end
  end

  test "apply/2 changes what the plan names" do
    assert [burst: burst, daily: daily] =
             Plan.apply(windows(), burst: [per: :hour, burst: 70], daily: [limit: 7])

    assert {burst.limit, burst.per, burst.burst} == {10, :hour, 70}
    assert {daily.limit, daily.per, daily.algorithm} == {7, :day, :fixed_window}
    assert Plan.apply(windows(), []) == windows()
  end

  test "a plan may put a window in shadow mode" do
    plan = Plan.new!([burst: [enforce: false]], windows(), [])

    assert [burst: %{enforce: false, limit: 10}, daily: %{enforce: true}] =
             Plan.apply(windows(), plan)

    assert Plan.to_native(plan) == [{:burst, nil, nil, nil, false}]
  end

  test "to_native/1 leaves names, and has nil for what does not change" do
    for name <- [nil, :pro, "pro"], do: assert(Plan.to_native(name) == name)
    assert Plan.to_native(burst: [limit: 5]) == [{:burst, 5, nil, nil, nil}]

    assert Plan.to_native(burst: [burst: 6, per: {2, :second}]) ==
             [{:burst, nil, 2_000_000_000, 6, nil}]
  end

  test "chosen?/1 takes no plan, a name, and other limits" do
    for plan <- [nil, :pro, "pro", [], [burst: [limit: 5]]], do: assert(Plan.chosen?(plan))

    for other <- [7, {:pro}, %{}, [1], String.duplicate("a", 256)],
        do: refute(Plan.chosen?(other))
  end
end
