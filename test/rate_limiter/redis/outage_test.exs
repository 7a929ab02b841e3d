defmodule RateLimiter.Redis.OutageTest do
  # Answers and events during an outage of Redis.
  use RateLimiter.Support.Redis.Case, async: true

  describe "during an outage" do
    test ":deny returns :unavailable for every call", %{name: name} = context do
      start(context, [], on_outage: :deny)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      Redis.kill(context.server)

      assert {:error, :unavailable, usage} = RateLimiter.check_and_track(name, "u", :a, cost: 2)

      assert %Usage{limiter: ^name, window: :a, max: 10, remaining: 0, cost: 2, windows: none} =
               usage

      assert %{source: :fallback, retry_after_ms: 1_000} = usage
      assert none == %{}

      assert {:error, :unavailable, %Usage{windows: %{a: %Usage{max: 10}, b: %Usage{max: 20}}}} =
               RateLimiter.check_and_track(name, "u")

      assert [{:error, :unavailable, %Usage{}}, {:error, :unavailable, %Usage{}}] =
               RateLimiter.check_batch(name, [{"u", 1}, {"v", 1}], :a)

      assert {:error, :unavailable, %Usage{}} = RateLimiter.peek(name, "u", :a)
      assert {:error, :unavailable, %Usage{}} = RateLimiter.get_usage(name, "u", [:b])
      assert {:error, :unavailable, %Usage{}} = RateLimiter.refund(name, "u", :a)
      assert {:error, :unavailable, nil} = RateLimiter.reset(name, "u")
      assert {:error, :unavailable, nil} = RateLimiter.get_usage_batch(name, ["u", "v"], :a)
      assert RateLimiter.stats(name).unavailable > 0
    end

    test ":deny returns :unavailable to a caller that waits while the limiter is removed",
         %{name: name} = context do
      start(context, [timeout: 60_000], on_outage: :deny)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      Redis.freeze(context.server)

      waiting =
        for call <- [
              fn -> RateLimiter.check_and_track(name, "u", :a) end,
              fn -> RateLimiter.peek(name, "u") end,
              fn -> hd(RateLimiter.check_batch(name, [{"u", 1}], [:a, :b])) end
            ],
            do: Task.async(call)

      Redis.eventually(fn -> RateLimiter.stats(name).pending == 3 end)
      :ok = RateLimiter.remove_limiter(name)
      Redis.kill(context.server)

      for answer <- Task.await_many(waiting, 60_000),
          do: assert({:error, :unavailable, %Usage{limiter: ^name, remaining: 0}} = answer)
    end

    @tag :slow
    test "a request id is charged once, over a lost answer and the outage",
         %{name: name} = context do
      start(context)
      {:ok, _usage} = RateLimiter.check_and_track(name, "u", :a, cost: 1)
      call = [cost: 2, request_id: "7f3a"]
      Redis.freeze(context.server)

      # Redis receives the first of them, and runs it when it is back.
      for _retry <- 1..3 do
        assert {:ok, %Usage{source: :fallback, current: 3}} =
                 RateLimiter.check_and_track(name, "u", :a, call)
      end

      Redis.thaw(context.server)

      Redis.eventually(fn ->
        match?({:ok, %{source: :redis}}, RateLimiter.check_and_track(name, "u", :a, call))
      end)

      assert {:ok, %Usage{source: :redis, current: 3}} = RateLimiter.get_usage(name, "u", :a)
    end

    @tag :slow
    test "a request id that the fallback admitted is known when Redis is back",
         %{name: name} = context do
      start(context)
      Redis.freeze(context.server)

      Redis.eventually(fn ->
        RateLimiter.check_and_track(name, "another", :a)
        RateLimiter.stats(name).breaker == :opened
      end)

      call = [cost: 2, request_id: "7f3a"]
      {:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, "u", call)
      {:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, "u", :a)
      Redis.thaw(context.server)

      Redis.eventually(fn ->
        match?({:ok, %{source: :redis}}, RateLimiter.check_and_track(name, "u", call))
      end)

      assert {:ok, %Usage{windows: %{a: %{current: 3}, b: %{current: 2}}}} =
               RateLimiter.get_usage(name, "u")
    end

    @tag :slow
    test "a receipt waits for Redis, which gives back once", %{name: name} = context do
      start(context)
      {:ok, usage} = RateLimiter.check_and_track(name, "u", :a, cost: 4)
      assert usage.source == :redis
      Redis.freeze(context.server)

      Redis.eventually(fn ->
        RateLimiter.check_and_track(name, "another", :a)
        RateLimiter.stats(name).breaker == :opened
      end)

      assert {:error, :unavailable, %Usage{}} = RateLimiter.refund(usage)
      {:ok, own} = RateLimiter.check_and_track(name, "u", :a, cost: 2)
      assert own.source == :fallback
      assert {:error, :unavailable, %Usage{}} = RateLimiter.refund(own)
      Redis.thaw(context.server)

      Redis.eventually(fn ->
        match?({:ok, %{source: :redis}}, RateLimiter.get_usage(name, "u", :a))
      end)

      # What the bucket has refilled meanwhile may count as that of the call.
      assert {:ok, %{current: current}} = RateLimiter.refund(usage)
      assert current in 2..3
      assert {:ok, %{current: again}} = RateLimiter.refund(usage)
      assert again in 2..current
      assert {:error, :unavailable, %Usage{}} = RateLimiter.refund(own)
    end

    test ":allow admits all calls", %{name: name} = context do
      start(context, [], on_outage: :allow)
      Redis.kill(context.server)

      for _ <- 1..30,
          do:
            assert({:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, "u", :a))
    end

    test ":allow denies a cost that Redis would always deny, and reports what is left",
         context do
      %{name: name} = context
      start(context, [], on_outage: :allow)
      Redis.kill(context.server)

      for cost <- [11, -1, 2 ** 70],
          call <- [&RateLimiter.peek/4, &RateLimiter.check_and_track/4] do
        assert {:error, :rate_limited, %Usage{retry_after_ms: :infinity}} =
                 call.(name, "u", :a, cost: cost)
      end

      for {cost, remaining} <- [{4, 6}, {10, 0}, {1, 0}],
          call <- [&RateLimiter.peek/4, &RateLimiter.check_and_track/4] do
        assert {:ok, %Usage{source: :fallback, remaining: ^remaining, retry_after_ms: 0}} =
                 call.(name, "u", :a, cost: cost)
      end
    end

    test "a node that starts during an outage has its share of the configured nodes", context do
      %{name: name, server: server} = context
      Redis.kill(server)

      start_supervised!(
        {RateLimiter,
         name: name,
         store: {:redis, url: Redis.url(server), nodes: 2},
         limiters: [{name, windows: [a: [limit: 10, per: {30, :day}]]}]}
      )

      assert {:degraded, {:redis, _why}} = RateLimiter.health_check(name)

      admitted =
        Enum.count(1..10, fn _ ->
          match?({:ok, %Usage{source: :fallback}}, RateLimiter.check_and_track(name, "u", :a))
        end)

      assert admitted == 5
    end

    # With the breaker closed for a moment between two outages it was `:ok`, although hardly a call came from Redis.
    @tag :slow
    test "health_check/1 judges the calls of the last seconds, not this instant", context do
      %{name: name, server: server} = context
      start(context, timeout: 500)
      Redis.freeze(server)

      for _ <- 1..10,
          do: assert({:ok, %{source: :fallback}} = RateLimiter.check_and_track(name, "u", :b))

      Redis.thaw(server)

      Redis.eventually(fn ->
        match?([%{breaker: :closed, connections: 1}], RateLimiter.stats(name).redis.servers)
      end)

      assert {:degraded, {:redis, [%{breaker: :closed, failing: true} = server]}} =
               RateLimiter.health_check(name)

      assert server.recent_failures in 5..server.recent_calls
      assert server.problem =~ "no answer within 500ms"

      Redis.eventually(fn -> RateLimiter.health_check(name) == :ok end)
      assert [%{failing: false, problem: nil}] = RateLimiter.stats(name).redis.servers
    end

    test "a refund is made for an id of its own, and not for those that a full limiter judges together",
         %{name: name} = context do
      window = [limit: 1, per: :day, burst: 1_000]
      start(context, [], max_keys: 2, windows: [a: window])
      Redis.kill(context.server)

      check = fn id ->
        {:ok, %{source: :fallback} = usage} = RateLimiter.check_and_track(name, id, :a)
        usage.current
      end

      Enum.each(1..100, check)
      together = check.(77)
      assert {:error, :unavailable, %Usage{}} = RateLimiter.refund(name, 77, :a)
      assert check.(77) == together + 1
      assert {:ok, %{source: :fallback, current: 0}} = RateLimiter.refund(name, 1, :a)
    end

    @tag :slow
    test "events report the connection, the breaker and the fallback", context do
      %{name: name, server: server} = context
      Heard.listen(name)
      start(context)
      address = "127.0.0.1:#{server.port}"

      assert_receive {:event, [:rate_limiter, :redis, :connection], %{count: 1},
                      %{server: ^address, change: :up, reason: nil}},
                     30_000

      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)

      assert_receive {:event, [:rate_limiter, :redis, :command], %{calls: 1, missed: 0} = batch,
                      %{server: ^address, result: :ok, reason: nil}},
                     30_000

      assert batch.duration_us >= 0
      Redis.kill(server)

      assert_receive {:event, [:rate_limiter, :redis, :connection], _,
                      %{server: ^address, change: :down, reason: reason}},
                     30_000

      assert is_binary(reason)

      for _ <- 1..10,
          do: {:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, {"u", 1})

      assert_receive {:event, [:rate_limiter, :fallback, :started], %{count: 1},
                      %{limiter: ^name, on_outage: :share, nodes: 1}},
                     30_000

      assert_receive {:event, [:rate_limiter, :circuit_breaker, :opened], %{count: 1},
                      %{server: ^address, from: :closed}},
                     30_000

      assert {:degraded, {:redis, [%{server: ^address, problem: problem}]}} =
               RateLimiter.health_check(name)

      assert is_binary(problem)

      Redis.restart!(server)

      assert_receive {:event, [:rate_limiter, :circuit_breaker, :closed], _,
                      %{server: ^address, from: :half_open}},
                     30_000

      Redis.eventually(fn ->
        match?({:ok, %Usage{source: :redis}}, RateLimiter.check_and_track(name, "v", :b))
      end)

      assert_receive {:event, [:rate_limiter, :fallback, :stopped], _, %{limiter: ^name}}, 30_000
      Redis.eventually(fn -> RateLimiter.health_check(name) == :ok end)
    end
  end
end
