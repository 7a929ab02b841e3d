defmodule RateLimiter.StoreTest do
  # What every call does before and after the native library. The behaviour of each store is in the conformance test.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories, only: [for_all: 3, pick: 1]

  alias RateLimiter.Core.Limit
  alias RateLimiter.Store
  alias RateLimiter.Support.{Events, Redis}
  alias RateLimiter.Usage

  @max 0x7FFF_FFFF_FFFF_FFFF
  @windows [a: [limit: 10, per: :minute], b: [limit: 7, per: :hour]]
  # No limiter has this handle.
  @gone 2 ** 61 + 2 ** 40

  setup do
    RateLimiter.Test.start(
      limiters: [
        store: [windows: @windows],
        twin: [windows: @windows],
        quiet: [windows: @windows, events: :none]
      ]
    )
  end

  defp handle(name \\ :store), do: RateLimiter.Test.Registry.limiter(name)
  defp remaining({:ok, %Usage{remaining: remaining}}), do: remaining

  test "bounded/1 is the cost as 64 bits hold it, and -1 for any other" do
    for cost <- [0, 1, @max], do: assert(Store.bounded(cost) == cost)
    for cost <- [-1, -5, @max + 1, 2 ** 80, -(2 ** 80)], do: assert(Store.bounded(cost) == -1)
  end

  describe "check/4" do
    test "with one window answers as with a list of it, for any history" do
      for_all seed, 30 do
        :rand.seed(:exsss, seed)

        for _ <- 1..30 do
          {id, cost, window} =
            {pick(1..2), pick([0, 1, 3, 8, 11, -1, @max, 2 ** 70]), pick([:a, :b])}

          one = Store.check(:store, {seed, id}, window, cost)
          listed = Store.check(:twin, {seed, id}, [window], cost)
          assert elem(one, 0) == elem(listed, 0)
          {one, listed} = {elem(one, tuple_size(one) - 1), elem(listed, tuple_size(listed) - 1)}
          # Each answer has a receipt of its own, and none the usages of its windows.
          [one, listed] = for usage <- [one, listed], do: %{usage | receipt: nil}
          assert listed.windows == %{window => %{listed | windows: %{}}}
          assert %{listed | limiter: :store, windows: %{}} == one
          RateLimiter.Test.advance(pick([0, 1_000, 20_000]))
        end
      end
    end

    test "has the cost of the call in the answer, however large" do
      for cost <- [-(2 ** 80), -1, @max, 2 ** 80], window <- [:a, [:a, :b]] do
        assert {:error, :rate_limited, %Usage{cost: ^cost, retry_after_ms: :infinity}} =
                 Store.check(:store, 1, window, cost)
      end
    end

    # A limiter of the application answers on a shorter path than one of a test.
    test "emits the events that the limiter has, for one window and for several" do
      loud = [windows: @windows]
      limiters = [store_loud: loud, store_quiet: [events: :none] ++ loud]
      start_supervised!({RateLimiter, name: {__MODULE__, :events}, limiters: limiters})
      Events.listen([[:rate_limiter, :check], [:rate_limiter, :violation]])

      for {loud, quiet} <- [store: :quiet, store_loud: :store_quiet], window <- [:a, [:a]] do
        assert {:ok, %Usage{cost: 1, window: :a}} = Store.check(loud, window, window, 1)
        assert_received {:event, [_, :check], %{cost: 1}, %{limiter: ^loud, result: :allowed}}
        assert {:error, :rate_limited, %Usage{cost: 11}} = Store.check(loud, window, window, 11)
        assert_received {:event, [_, :check], %{cost: 11}, %{result: :denied}}
        assert_received {:event, [_, :violation], %{cost: 11}, %{limiter: ^loud}}

        {:ok, _} = Store.check(quiet, window, window, 1)
        {:error, _, _} = Store.check(quiet, window, window, 11)
        assert_received {:event, [_, :violation], %{cost: 11}, %{limiter: ^quiet}}
        refute_received {:event, _, _, _}
      end
    end

    test "accepts an id of any size" do
      large = Enum.to_list(1..100_000)
      assert {:ok, %Usage{remaining: 9}} = Store.check(:store, large, :a, 1)
      assert {:ok, %Usage{windows: %{a: %{remaining: 8}}}} = Store.check(:store, large, [], 1)
    end
  end

  test "allow?/4 answers, takes and emits as check/4 does" do
    start_supervised!(
      {RateLimiter, name: {__MODULE__, :allow}, limiters: [store_allow: [windows: @windows]]}
    )

    Events.listen([[:rate_limiter, :check], [:rate_limiter, :violation]])

    for limiter <- [:store, :store_allow], window <- [:a, [:a]] do
      id = {:allow, window}
      assert Store.allow?(limiter, id, window, 8)
      assert_received {:event, [_, :check], %{cost: 8}, %{limiter: ^limiter, result: :allowed}}

      for cost <- [3, -1, 2 ** 70] do
        refute Store.allow?(limiter, id, window, cost)
        assert_received {:event, [_, :check], %{cost: ^cost}, %{result: :denied}}
        assert_received {:event, [_, :violation], %{cost: ^cost}, %{limiter: ^limiter}}
      end

      assert Store.allow?(limiter, id, window, 2)
      assert remaining(Store.peek(limiter, id, :a, 0)) == 0
    end

    large = Enum.to_list(1..100_000)
    assert Store.allow?(:store, large, :a, 10)
    refute Store.allow?(:store, large, :a, 1)
  end

  test "check_once/5 takes once for a request id, which holds for one id" do
    request = {"r", 60_000_000_000}
    for _ <- 1..3, do: assert(remaining(Store.check_once(:store, 1, :a, 4, request)) == 6)
    assert remaining(Store.check_once(:store, 2, :a, 4, request)) == 6
    assert remaining(Store.check_once(:store, 1, :a, 4, nil)) == 2
  end

  test "peek/4 answers as the check that follows it, and takes nothing" do
    for_all seed, 30 do
      :rand.seed(:exsss, seed)
      {cost, window} = {pick([0, 1, 5, 10, 11, -1, 2 ** 70]), pick([:a, [], [:b, :a]])}
      {:ok, _} = Store.check(:store, seed, :a, pick([0, 3]))
      peeked = Store.peek(:store, seed, window, cost)
      assert Store.peek(:store, seed, window, cost) == peeked
      checked = Store.check(:store, seed, window, cost)
      assert elem(checked, 0) == elem(peeked, 0)
      if elem(peeked, 0) == :error, do: assert(checked == peeked)
    end
  end

  test "only calls that take emit events" do
    Events.listen([[:rate_limiter, :check], [:rate_limiter, :violation]])

    for cost <- [1, 100], window <- [:a, []] do
      Store.peek(:store, 1, window, cost)
      Store.refund(:store, 1, window, cost)
    end

    Store.reset(:store, 1, :a)
    Store.usage_batch(:store, [1], :a)
    refute_received {:event, _, _, _}
    Store.check_batch(:store, [{1, 1}, {1, 100}], :a)
    assert_received {:event, [_, :check], _, %{result: :allowed}}
    assert_received {:event, [_, :check], _, %{result: :denied}}
  end

  test "refund/4 gives back what was taken, up to full, and nothing for a negative cost" do
    {:ok, _} = Store.check(:store, 1, :a, 8)

    for {cost, remaining} <- [{-1, 2}, {-(2 ** 80), 2}, {0, 2}, {3, 5}, {2 ** 80, 10}] do
      assert {:ok, %Usage{cost: ^cost, remaining: ^remaining}} = Store.refund(:store, 1, :a, cost)
    end
  end

  test "reset/3 forgets the id in these windows alone" do
    {:ok, _} = Store.check(:store, 1, [], 5)
    {:ok, _} = Store.check(:store, 2, [], 5)
    assert Store.reset(:store, 1, :a) == :ok
    assert remaining(Store.peek(:store, 1, :a, 0)) == 10
    assert remaining(Store.peek(:store, 1, :b, 0)) == 2
    assert Store.reset(:store, 1, []) == :ok
    assert remaining(Store.peek(:store, 1, :b, 0)) == 7
    assert remaining(Store.peek(:store, 2, :b, 0)) == 2
  end

  describe "check_batch/3 and usage_batch/3" do
    test "answer as single calls do, in order" do
      for_all seed, 20 do
        :rand.seed(:exsss, seed)
        window = pick([:a, [], [:b]])
        entries = for _ <- 1..20, do: {{seed, pick(1..3)}, pick([0, 1, 4, 11, -1, 2 ** 70])}
        batch = Store.check_batch(:store, entries, window)
        singles = for {id, cost} <- entries, do: Store.check(:twin, id, window, cost)

        renamed = fn answers ->
          answers |> inspect(limit: :infinity) |> String.replace(":twin", ":store")
        end

        assert renamed.(batch) == renamed.(singles)

        ids = for {id, _cost} <- entries, do: id
        assert {:ok, usages} = Store.usage_batch(:store, ids, window)
        assert usages == for(id <- ids, do: {id, elem(Store.peek(:store, id, window, 0), 1)})
      end
    end

    test "take nothing if an entry is invalid" do
      for entry <- [{1, 1.0}, {nil, 1}, {1}, 1, nil] do
        assert_raise ArgumentError, fn -> Store.check_batch(:store, [{1, 1}, entry], :a) end
      end

      for list <- [[{1, 1} | {2, 1}], %{1 => 1}, nil, "ab"] do
        assert_raise ArgumentError, ~r/list/, fn -> Store.check_batch(:store, list, :a) end
        assert_raise ArgumentError, ~r/list/, fn -> Store.usage_batch(:store, list, :a) end
      end

      assert_raise ArgumentError, fn -> Store.usage_batch(:store, [1, nil], :a) end
      assert remaining(Store.peek(:store, 1, :a, 0)) == 10
    end
  end

  test "calls with a limiter or a cost that is none raise, and name it" do
    for call <- [
          &Store.check(&1, 1, :a, &2),
          &Store.check(&1, 1, [:a], &2),
          &Store.allow?(&1, 1, :a, &2),
          &Store.check_once(&1, 1, :a, &2, nil),
          &Store.peek(&1, 1, :a, &2),
          &Store.refund(&1, 1, :a, &2)
        ] do
      assert_raise ArgumentError, ~r/cost.*1\.5/s, fn -> call.(:store, 1.5) end
      assert_raise ArgumentError, ~r/"store"/, fn -> call.("store", 1) end
    end

    assert_raise ArgumentError, ~r/"store"/, fn -> Store.reset("store", 1, :a) end
    assert_raise ArgumentError, ~r/"store"/, fn -> Store.check_batch("store", [], :a) end
    assert_raise ArgumentError, ~r/"store"/, fn -> Store.usage_batch("store", [], :a) end
  end

  describe "a limiter's life" do
    defp config(windows), do: %{windows: windows, events: :all, max_keys: 1_000}
    defp limit(options), do: Limit.new!(options, [])

    test "lasts until its owner is dropped" do
      clock = Store.manual_clock(0)

      assert {:ok, handle, owner} =
               Store.new_limiter(config(w: limit(limit: 5, per: :hour)), clock)

      assert Store.plan(handle) == %{scale: 1.0, maxima: %{w: 5}}
      assert Store.bind(:store_test_bound, owner) == :ok
      assert Store.handle(:store_test_bound) == handle
      {:ok, _handle, other} = Store.new_limiter(config(w: limit(limit: 1, per: :hour)), clock)
      assert Store.bind(:store_test_bound, other) == {:error, :taken}
      assert Store.unbind(:store_test_bound, handle) == :ok
      assert Store.handle(:store_test_bound) == nil
      assert Store.drop(owner) == :ok
      assert {Store.plan(handle), Store.stats(handle), Store.slots(handle)} == {nil, nil, 0}
    end

    test "does not begin with a limit that the native library rejects" do
      window = %{limit(limit: 1, per: :day) | limit: 2 ** 62}
      assert {:error, {:w, reason}} = Store.new_limiter(config(w: window), :monotonic)
      assert is_binary(reason)
    end

    test "in Redis has the name and the outage of its configuration" do
      server = Redis.start!()
      name = {__MODULE__, :shared}

      start_supervised!(
        {RateLimiter, name: name, store: {:redis, url: Redis.url(server), timeout: 20_000}}
      )

      %{store: {:redis, store}} = RateLimiter.Instance.Registry.fetch!(name)
      config = Map.put(config(w: limit(limit: 5, per: :hour)), :on_outage, :deny)
      assert {:ok, handle, owner} = Store.new_shared_limiter(config, :of_redis, store)
      assert %{away?: away?} = stats = Store.stats(handle)
      assert is_boolean(away?)
      for key <- [:slots, :away], do: refute(is_map_key(stats, key))
      Store.drop(owner)
    end
  end

  test "update_limits/2 changes windows, keeps their usage, and returns why it cannot" do
    {:ok, _} = Store.check(:store, 1, [], 5)
    {a, b} = {changed(20, burst: 30), changed(8)}
    assert Store.update_limits(handle(), a: a) == :ok
    assert Store.plan(handle()).maxima == %{a: 30, b: 7}
    assert remaining(Store.peek(:store, 1, :a, 0)) == 25
    assert {:error, reason} = Store.update_limits(handle(), b: b, a: %{a | limit: 2 ** 62})
    assert reason =~ "limit"
    assert Store.plan(handle()).maxima == %{a: 30, b: 7}
  end

  test "preview/2 counts the ids that limits would deny, and changes nothing" do
    for {id, cost} <- [{1, 5}, {2, 1}, {3, 0}], do: {:ok, _} = Store.check(:store, id, :a, cost)
    assert Store.preview(handle(), a: changed(4)) == {2, 1}
    assert Store.preview(handle(), a: changed(1)) == {2, 2}
    assert {:error, reason} = Store.preview(handle(), a: %{changed(1) | limit: 2 ** 62})
    assert reason =~ "limit"
    assert Store.plan(handle()).maxima == %{a: 10, b: 7}
  end

  defp changed(limit, options \\ []),
    do: Limit.new!([limit: limit, per: :minute] ++ options, [])

  test "plan/1 has the scale and the maxima under it" do
    RateLimiter.Core.Native.set_scale(handle(), 500_000)
    assert Store.plan(handle()) == %{scale: 0.5, maxima: %{a: 5, b: 3}}
    assert Store.plan(@gone) == nil
  end

  test "stats/1 has counts, and whether the node decides alone only if it could be otherwise" do
    {:ok, _} = Store.check(:store, 1, :a, 1)
    {:error, _, _} = Store.check(:store, 1, :a, 100)
    assert %{checks: 2, denials: 1, keys: 1} = stats = Store.stats(handle())
    for key <- [:slots, :away, :away?], do: refute(is_map_key(stats, key))
  end

  test "sweep/2 removes idle ids, over as many places as slots/1 says" do
    for id <- 1..50, do: {:ok, _} = Store.check(:store, id, :a, 1)
    assert Store.sweep(handle(), Store.slots(handle())) == 0
    RateLimiter.Test.advance(:day)
    assert Store.sweep(handle(), Store.slots(handle())) == 50
    assert Store.stats(handle()).keys == 0
    assert Store.sweep(@gone, 1) == :unknown_limiter
  end

  test "full?/1 is whether a new id has no room" do
    RateLimiter.Test.start(limiters: [narrow: [windows: @windows, max_keys: 1]])
    refute Store.full?(handle(:narrow))
    # As many as there is room for, which is at least the maximum.
    Enum.reduce_while(1..10_000, nil, fn id, nil ->
      {:ok, _} = Store.check(:narrow, id, :a, 1)
      if Store.stats(handle(:narrow)).overflowed > 0, do: {:halt, nil}, else: {:cont, nil}
    end)

    assert Store.full?(handle(:narrow))
    refute Store.full?(@gone)
  end

  test "the clock of tests is set and moved by hand" do
    clock = Store.manual_clock(5)
    assert Store.manual_clock_now(clock) == 5
    Store.manual_clock_advance(clock, 10)
    assert Store.manual_clock_now(clock) == 15
    Store.manual_clock_set(clock, 3)
    assert Store.manual_clock_now(clock) == 3
  end
end
