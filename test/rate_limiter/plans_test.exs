defmodule RateLimiter.PlansTest do
  # Calls under plans, on every store.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Store.Mock
  alias RateLimiter.Support.Redis

  @windows [
    minute: [limit: 10, per: {30, :day}],
    daily: [algorithm: :fixed_window, aligned: false, limit: 100, per: {30, :day}]
  ]
  @plans [{:pro, [minute: [limit: 50]]}, {"customer 7", [minute: [limit: 3], daily: [limit: 4]]}]

  for store <- [:local, :own | Redis.programs()] do
    describe "#{store}" do
      @describetag store: store

      setup %{store: store} = context do
        limiter = :"plans #{store} #{context.line}"
        limiters = [{limiter, windows: @windows, plans: @plans, events: :none}]
        options = [name: limiter, stats_interval: :infinity, limiters: limiters]
        start_supervised!({RateLimiter, options ++ start_store(store, limiter)})

        # Calls are answered alone until the store is reached.
        eventually(fn ->
          {:ok, usage} = RateLimiter.get_usage(limiter, 0, :minute)
          usage.source != :fallback
        end)

        {:ok, limiter: limiter}
      end

      test "a call is decided by the limits of its plan", %{limiter: limiter} do
        for {plan, max} <- [
              {nil, 10},
              {:pro, 50},
              {"customer 7", 3},
              {[minute: [limit: 7]], 7},
              {[daily: [limit: 1]], 10},
              {[], 10}
            ] do
          id = inspect(plan)
          call = [plan: plan]
          assert {:ok, usage} = RateLimiter.check_and_track(limiter, id, :minute, call)
          assert {usage.max, usage.remaining, usage.plan} == {max, max - 1, plan}
          assert RateLimiter.allow?(limiter, id, :minute, plan: plan, cost: max - 1)
          refute RateLimiter.allow?(limiter, id, :minute, plan: plan)

          assert {:error, :rate_limited, denied} =
                   RateLimiter.check_and_track(limiter, id, :minute, call)

          assert {denied.max, denied.remaining, denied.plan} == {max, 0, plan}
        end
      end

      test "what was used stays used when the plan changes", %{limiter: limiter} do
        check = fn plan, cost ->
          RateLimiter.check_and_track(limiter, "ann", :minute, cost: cost, plan: plan)
        end

        assert {:ok, %{remaining: 4}} = check.(nil, 6)
        assert {:ok, %{remaining: 24}} = check.(:pro, 20)
        assert {:error, :rate_limited, %{remaining: 0}} = check.(nil, 1)
        assert {:error, :rate_limited, %{remaining: 0}} = check.("customer 7", 1)
        assert {:ok, %{remaining: 14}} = check.([minute: [limit: 40]], 0)
        assert {:ok, %{remaining: 0}} = check.(:pro, 24)
      end

      test "every function takes a plan", %{limiter: limiter} do
        plan = [plan: :pro]
        assert {:ok, %{max: 50}} = RateLimiter.peek(limiter, 1, :minute, plan)
        assert {:ok, %{max: 50, plan: :pro}} = RateLimiter.get_usage(limiter, 1, :minute, plan)
        assert {:ok, %{max: 50}} = RateLimiter.get_usage(limiter, 1, plan) |> window(:minute)
        assert {:ok, usage} = RateLimiter.check_and_track(limiter, 1, [:minute, :daily], plan)
        assert %{minute: %{max: 50, plan: :pro}, daily: %{max: 100, plan: :pro}} = usage.windows
        assert {:ok, %{plan: :pro}} = RateLimiter.check_and_track(limiter, 1, plan)
        assert {:ok, %{remaining: 47}} = RateLimiter.await(limiter, 1, :minute, plan)
        entries = [{1, 40}, {1, 10}]

        assert [{:ok, %{remaining: 7, plan: :pro}}, {:error, :rate_limited, %{plan: :pro}}] =
                 RateLimiter.check_batch(limiter, entries, :minute, plan)

        assert {:ok, [{1, %{remaining: 7, plan: :pro}}, {2, %{remaining: 50}}]} =
                 RateLimiter.get_usage_batch(limiter, [1, 2], :minute, plan)

        assert {:ok, %{remaining: 12, plan: :pro}} =
                 RateLimiter.refund(limiter, 1, :minute, cost: 5, plan: :pro)

        once = [request_id: "7", cost: 12, plan: :pro]

        for _ <- 1..2,
            do:
              assert(
                {:ok, %{remaining: 0}} = RateLimiter.check_and_track(limiter, 1, :minute, once)
              )

        assert :ok = RateLimiter.reset(limiter, 1)
        assert {:ok, %{current: 0}} = RateLimiter.get_usage(limiter, 1, :minute, plan)
      end

      test "a receipt gives back under the plan of its call", %{limiter: limiter} do
        {:ok, usage} = RateLimiter.check_and_track(limiter, 1, :minute, cost: 20, plan: :pro)
        assert {:ok, %{remaining: 45, plan: :pro}} = RateLimiter.refund(usage, cost: 15)

        {:ok, gone} =
          RateLimiter.check_and_track(limiter, 2, :minute, cost: 2, plan: "customer 7")

        :ok = RateLimiter.remove_plan(limiter, "customer 7")
        # Its plan is gone, so nothing of the call counts as it did.
        assert {:ok, _usage} = RateLimiter.refund(gone)
        assert {:ok, %{current: 2}} = RateLimiter.get_usage(limiter, 2, :minute)
      end

      test "plans are added, replaced and removed at run time", %{limiter: limiter} do
        max = fn plan ->
          {:ok, usage} = RateLimiter.get_usage(limiter, 1, :minute, plan: plan)
          usage.max
        end

        {:ok, _usage} = RateLimiter.check_and_track(limiter, 1, :minute, cost: 5, plan: :pro)
        assert :ok = RateLimiter.put_plan(limiter, :free, minute: [limit: 2])
        assert :ok = RateLimiter.put_plan(limiter, :pro, minute: [limit: 60])
        assert {max.(:free), max.(:pro)} == {2, 60}
        assert {:ok, %{remaining: 55}} = RateLimiter.get_usage(limiter, 1, :minute, plan: :pro)
        assert RateLimiter.plans(limiter)[:free] == [minute: [limit: 2]]
        assert :ok = RateLimiter.remove_plan(limiter, :free)
        assert Enum.sort(Map.keys(RateLimiter.plans(limiter))) == [:pro, "customer 7"]

        assert_raise ArgumentError,
                     ~r/unknown plan :free .* its plans are :pro and "customer 7"/,
                     fn ->
                       max.(:free)
                     end

        assert_raise ArgumentError, ~r/unknown plan :free/, fn ->
          RateLimiter.remove_plan(limiter, :free)
        end
      end

      test "a bucket has a period of its own in a plan", %{limiter: limiter} do
        :ok = RateLimiter.put_plan(limiter, :slow, minute: [per: {60, :day}])

        {:ok, usage} = RateLimiter.check_and_track(limiter, 1, :minute, cost: 10, plan: :slow)

        assert_in_delta usage.reset_after_ms, 60 * 86_400_000, 60_000
      end

      test "what a plan does not change follows the limiter", %{limiter: limiter} do
        :ok = RateLimiter.update_limit(limiter, :daily, limit: 200)
        :ok = RateLimiter.update_limit(limiter, :minute, limit: 20)
        assert {:ok, usage} = RateLimiter.get_usage(limiter, 1, [], plan: :pro)
        assert {usage.windows.minute.max, usage.windows.daily.max} == {50, 200}
      end

      test "an invalid plan raises before anything is charged", %{limiter: limiter} do
        for {plan, message} <- [
              {:gone, ~r/unknown plan :gone of limiter/},
              {"gone", ~r/unknown plan "gone"/},
              {[hourly: [limit: 1]], ~r/^plan.hourly: expected a window of the limiter/},
              {[minute: [limit: 0]], ~r/^plan.minute.limit: expected a positive integer/},
              {[daily: [burst: 1]], ~r/^plan.daily.burst: applies to :token_bucket only/},
              {[daily: [per: :hour]], ~r/^plan.daily.per: a plan has a period of its own/},
              {7, ~r/^plan: expected the name of a plan/}
            ],
            call <- [
              &RateLimiter.check_and_track(limiter, 1, :minute, plan: &1),
              &RateLimiter.check_and_track(limiter, 1, [], plan: &1, cost: 2),
              &RateLimiter.peek(limiter, 1, :minute, plan: &1),
              &RateLimiter.check_batch(limiter, [{1, 1}], :minute, plan: &1)
            ] do
          assert_raise ArgumentError, message, fn -> call.(plan) end
        end

        assert {:ok, %{current: 0}} = RateLimiter.get_usage(limiter, 1, :minute)
      end

      test "an invalid plan is not added", %{limiter: limiter} do
        for {name, plan, message} <- [
              {:new, [hourly: [limit: 1]], ~r/plans.new.hourly: expected a window/},
              {:new, [minute: [limit: -1]], ~r/plans.new.minute.limit: expected/},
              {:new, [daily: [per: :hour]],
               ~r/plans.new.daily.per: a plan has a period of its own/},
              {nil, [minute: [limit: 1]], ~r/plans: expected the name of a plan/},
              {7, [minute: [limit: 1]], ~r/plans: expected the name of a plan/}
            ] do
          assert_raise ArgumentError, message, fn -> RateLimiter.put_plan(limiter, name, plan) end
        end

        assert map_size(RateLimiter.plans(limiter)) == 2
      end
    end
  end

  test "a limiter has thousands of plans, and forgets them with itself" do
    limiter = :"plans by the thousand"
    limiters = [{limiter, windows: @windows, plans: @plans}]
    RateLimiter.Test.start(name: __MODULE__, limiters: limiters)

    for number <- 1..2_000,
        do: :ok = RateLimiter.put_plan(limiter, "#{number}", minute: [limit: number])

    assert map_size(RateLimiter.plans(limiter)) == 2_002
    assert {:ok, %{max: 1_234}} = RateLimiter.get_usage(limiter, 1, :minute, plan: "1234")
    :ok = RateLimiter.remove_limiter(limiter)
    :ok = RateLimiter.add_limiter(limiter, [windows: @windows], __MODULE__)
    assert RateLimiter.plans(limiter) == %{}
  end

  defp start_store(:local, _limiter), do: []

  defp start_store(:own, limiter),
    do: [store: {Mock, name: :"store of #{limiter}", nodes: 1, timeout: 10_000}]

  defp start_store(program, _limiter) do
    server = Redis.start!(program: program)
    # A busy machine must not look like an outage.
    [store: {:redis, url: Redis.url(server), timeout: 10_000}]
  end

  defp window({:ok, usage}, window), do: {:ok, usage.windows[window]}
end
