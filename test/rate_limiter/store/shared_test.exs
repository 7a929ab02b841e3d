defmodule RateLimiter.Store.SharedTest do
  # Calls on a limiter in Redis, through the API: in an outage, and beside a test's limiter of the same name.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Support.Redis
  alias RateLimiter.Support.Redis.Heard
  alias RateLimiter.Usage

  @windows [a: [limit: 10, per: {30, :day}], b: [limit: 5, per: {30, :day}]]

  setup context do
    server = Redis.start!()

    start_supervised!(
      {RateLimiter,
       name: {:tenant, context.test},
       store: {:redis, url: Redis.url(server), timeout: context[:redis_timeout] || 20_000},
       limiters: [
         {context.test, windows: @windows, on_outage: context[:on_outage] || :share}
       ]}
    )

    eventually(fn -> RateLimiter.health_check({:tenant, context.test}) == :ok end)
    {:ok, name: context.test, server: server}
  end

  @tag on_outage: :deny, redis_timeout: 50
  test "without Redis, every call of a limiter that denies is unavailable", context do
    %{name: name, server: server} = context
    Redis.freeze(server)

    for call <- [
          &RateLimiter.check_and_track(name, "u", &1),
          &RateLimiter.check_and_track(name, "u", &1, request_id: "r"),
          &RateLimiter.peek(name, "u", &1),
          &RateLimiter.get_usage(name, "u", &1),
          &RateLimiter.refund(name, "u", &1)
        ] do
      assert {:error, :unavailable, %Usage{max: 5, windows: none}} = call.(:b)
      assert none == %{}
      assert {:error, :unavailable, %Usage{windows: %{a: %{max: 10}, b: %{max: 5}}}} = call.([])
    end

    for windows <- [:a, [:a, :b], []], do: refute(RateLimiter.allow?(name, "u", windows))

    assert RateLimiter.reset(name, "u", :a) == {:error, :unavailable, nil}
    assert RateLimiter.get_usage_batch(name, ["u", "v"]) == {:error, :unavailable, nil}

    assert [{:error, :unavailable, _}, {:error, :unavailable, _}] =
             RateLimiter.check_batch(name, [{"u", 1}, {"v", 1}], :a)
  end

  @tag redis_timeout: 50
  test "one event names the instance, whatever its name, when an outage starts and ends",
       context do
    %{name: name, server: server} = context
    Heard.listen({:tenant, name})
    Redis.kill(server)

    for n <- 1..20,
        do: assert({:ok, %{source: :fallback}} = RateLimiter.check_and_track(name, n, :a))

    assert_receive {:event, [:rate_limiter, :fallback, :started], %{count: 1}, metadata}, 30_000

    assert metadata == %{
             instance: {:tenant, name},
             limiter: name,
             on_outage: :share,
             nodes: 1
           }

    refute_received {:event, [:rate_limiter, :fallback, :started], _, _}
    Redis.restart!(server)

    eventually(fn ->
      match?({:ok, %{source: :redis}}, RateLimiter.check_and_track(name, "u", :a, cost: 0))
    end)

    assert_receive {:event, [:rate_limiter, :fallback, :stopped], _, %{limiter: ^name}}, 30_000
  end

  test "a test's own limiter of the same name decides for that test only", %{name: name} do
    assert {:ok, %{source: :redis, remaining: 9}} = RateLimiter.check_and_track(name, "u", :a)

    fn ->
      RateLimiter.Test.start(limiters: [{name, windows: @windows}])
      assert {:ok, %{source: :local, remaining: 9}} = RateLimiter.check_and_track(name, "u", :a)
      assert [{:ok, %{source: :local}}] = RateLimiter.check_batch(name, [{"u", 1}], [:a, :b])
    end
    |> Task.async()
    |> Task.await(:infinity)

    assert {:ok, %{source: :redis, remaining: 8}} = RateLimiter.check_and_track(name, "u", :a)
    assert [{:ok, %{source: :redis}}] = RateLimiter.check_batch(name, [{"u", 1}], [:a, :b])
  end

  @tag redis_timeout: 1_000, on_outage: :deny
  test "a call that waits while its limiter is removed is unavailable", context do
    %{name: name, server: server} = context
    Redis.freeze(server)
    caller = Task.async(fn -> RateLimiter.check_and_track(name, "u", :a) end)
    eventually(fn -> RateLimiter.stats({:tenant, name}).pending == 1 end)
    :ok = RateLimiter.remove_limiter(name)
    assert {:error, :unavailable, %Usage{window: :a}} = Task.await(caller, :infinity)
  end
end
