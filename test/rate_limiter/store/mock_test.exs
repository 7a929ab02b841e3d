defmodule RateLimiter.Store.MockTest do
  # A store that fails on command, through the API: what a store does wrong reaches no caller.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Store.Mock
  alias RateLimiter.Usage

  @windows [a: [limit: 10, per: {30, :day}], b: [limit: 4, per: {30, :day}]]
  # The store works or fails at once, except where it hangs: only then is it waited for as long.
  @timeout_ms 400

  setup context do
    start_supervised!(
      {RateLimiter,
       name: {:mock, context.test},
       log: false,
       store:
         {Mock,
          name: :"mock #{context.test}",
          nodes: 2,
          timeout: context[:store_timeout] || @timeout_ms,
          workers: 2},
       limiters: [
         {context.test, windows: @windows, on_outage: context[:on_outage] || :share}
       ]}
    )

    eventually(fn -> RateLimiter.health_check({:mock, context.test}) == :ok end)
    {:ok, name: context.test, mock: :"mock #{context.test}", instance: {:mock, context.test}}
  end

  @tag store_timeout: 20_000
  test "calls are counted in the store", %{name: name, instance: instance} do
    assert {:ok, %Usage{remaining: 9, source: :store}} =
             RateLimiter.check_and_track(name, "u", :a)

    assert {:ok, %Usage{remaining: 3, windows: %{a: %{remaining: 8}, b: %{remaining: 3}}}} =
             RateLimiter.check_and_track(name, "u")

    assert {:error, :rate_limited, %Usage{window: :b, remaining: 3}} =
             RateLimiter.check_and_track(name, "u", [:a, :b], cost: 4)

    assert {:ok, %Usage{remaining: 8}} = RateLimiter.get_usage(name, "u", :a)
    assert {:ok, %Usage{remaining: 9}} = RateLimiter.refund(name, "u", :a)
    assert :ok = RateLimiter.reset(name, "u")
    assert {:ok, %Usage{remaining: 10, source: :store}} = RateLimiter.get_usage(name, "u", :a)

    assert %{store: :store, breaker: :closed, client: %{calls: calls}} =
             RateLimiter.stats(instance)

    assert calls >= 6
  end

  @tag store_timeout: 20_000
  test "a call with a request id is charged once, and its receipt gives back once", %{name: name} do
    for _time <- 1..3 do
      assert {:ok, %Usage{remaining: 7}} =
               RateLimiter.check_and_track(name, "u", :a, cost: 3, request_id: "r")
    end

    {:ok, usage} = RateLimiter.check_and_track(name, "u", :a, cost: 2)
    for _time <- 1..3, do: assert({:ok, %Usage{remaining: 7}} = RateLimiter.refund(usage))
    assert {:ok, %Usage{remaining: 6}} = RateLimiter.check_and_track(name, "u", :a)
  end

  @tag store_timeout: 20_000
  test "no interleaving of processes admits more than the limit", %{name: name} do
    admitted =
      1..200
      |> Task.async_stream(fn _ -> RateLimiter.allow?(name, "u", :a) end, max_concurrency: 50)
      |> Enum.count(&match?({:ok, true}, &1))

    assert admitted == 10
  end

  @tag store_timeout: 20_000
  test "a conflict runs the function again, and charges once", %{name: name, mock: mock} do
    Mock.set(mock, :conflict)
    assert {:ok, %Usage{remaining: 9}} = RateLimiter.check_and_track(name, "u", :a)
    assert {:ok, %Usage{remaining: 8}} = RateLimiter.check_and_track(name, "u", :a)
  end

  for mode <- [:fail, :raise, :hang, :nonsense] do
    test "a store in the mode #{mode} is answered by the share, and charged when it is back", %{
      name: name,
      mock: mock,
      instance: instance
    } do
      {:ok, %Usage{source: :store}} = RateLimiter.check_and_track(name, "u", :a, cost: 2)
      Mock.set(mock, unquote(mode))

      # Half of what was left, and what this node had used before.
      answers = for _call <- 1..9, do: RateLimiter.check_and_track(name, "u", :a)
      assert Enum.all?(answers, &(source(&1) == :fallback))
      admitted = Enum.count(answers, &match?({:ok, _usage}, &1))
      assert admitted in 1..5

      eventually(fn ->
        _more = RateLimiter.check_and_track(name, "v", :a, cost: 0)
        match?({:degraded, {:store, _reason}}, RateLimiter.health_check(instance))
      end)

      Mock.set(mock, :ok)
      eventually(fn -> RateLimiter.health_check(instance) == :ok end)

      eventually(fn ->
        {:ok, usage} = RateLimiter.get_usage(name, "u", :a)
        usage.source == :store and usage.remaining <= 8 - admitted
      end)
    end
  end

  @tag on_outage: :deny
  test "a limiter that denies is unavailable without its store", %{name: name, mock: mock} do
    Mock.set(mock, :hang)
    assert {:error, :unavailable, %Usage{}} = RateLimiter.check_and_track(name, "u", :a)
    assert {:error, :unavailable, nil} = RateLimiter.reset(name, "u")
  end

  @tag store_timeout: 20_000
  test "a store that loses writes raises in no caller", %{name: name, mock: mock} do
    Mock.set(mock, :lose)
    answers = for _call <- 1..20, do: RateLimiter.check_and_track(name, "u", :a)
    assert Enum.all?(answers, &match?({:ok, %Usage{source: :store, remaining: 9}}, &1))
  end

  @tag store_timeout: 20_000
  test "a value of another program stays, and this node decides about its key", context do
    %{name: name, mock: mock} = context
    {:ok, _usage} = RateLimiter.check_and_track(name, "u", :a)
    [key] = for {key, _value} when is_binary(key) <- :ets.tab2list(mock), do: key
    :ets.insert(mock, {key, "of another program"})

    assert {:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, "u", :a)
    assert :ets.lookup(mock, key) == [{key, "of another program"}]
    assert {:ok, %Usage{source: :store}} = RateLimiter.check_and_track(name, "v", :a)
  end

  test "an event names the store when its breaker opens and closes", context do
    %{mock: mock, name: name, instance: instance} = context
    test = self()
    handler = make_ref()

    :telemetry.attach_many(
      handler,
      for(to <- [:opened, :half_open, :closed], do: [:rate_limiter, :circuit_breaker, to]),
      fn [_, _, to], _, metadata, _ ->
        if metadata.instance == instance, do: send(test, {to, metadata})
      end,
      nil
    )

    Mock.set(mock, :fail)
    for _call <- 1..5, do: RateLimiter.check_and_track(name, "u", :a)
    assert_receive {:opened, %{server: "RateLimiter.Store.Mock", reason: "the mock fails"}}, 5_000
    Mock.set(mock, :ok)
    assert_receive {:closed, %{from: :half_open}}, 5_000
    :telemetry.detach(handler)
  end

  test "a mode that does not exist is refused", %{mock: mock} do
    assert_raise FunctionClauseError, fn -> Mock.set(mock, :sleepy) end
  end

  defp source({:ok, usage}), do: usage.source
  defp source({:error, _reason, usage}), do: usage.source
end
