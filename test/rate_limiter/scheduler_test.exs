defmodule RateLimiter.SchedulerTest do
  # What a call may do on a normal scheduler: bounds of its work, and which function does the rest.
  use ExUnit.Case, async: true

  alias RateLimiter.{Instance, Store}
  alias RateLimiter.Core.Native

  # Ids up to the bounds, and above them. Each kind below the bound must be hashed as ever.
  @huge Integer.pow(2, 3_000)
  @small [
    String.duplicate("a", 65_536),
    Enum.to_list(1..800),
    List.to_tuple(Enum.to_list(1..800)),
    Integer.pow(2, 2_000),
    -Integer.pow(2, 2_000),
    [[List.duplicate(:a, 400)], {"b", List.duplicate(1, 300)}]
  ]
  @large [
    String.duplicate("a", 65_537),
    Enum.to_list(1..100_000),
    List.to_tuple(Enum.to_list(1..100_000)),
    @huge,
    -@huge,
    {1, @huge},
    [String.duplicate("a", 70_000)],
    [[List.duplicate(:a, 400)], {"b", List.duplicate(1, 900)}],
    Enum.reduce(1..2_000, [], fn _, nested -> [nested] end)
  ]

  setup do
    windows = [w: [limit: 1_000_000, per: :day], v: [limit: 1_000_000, per: :day]]
    config = Instance.Config.limiter!([windows: windows], [:limiters, :busy])
    {:ok, handle, owner} = Store.new_limiter(config, :monotonic)
    on_exit(fn -> Native.drop(owner) end)
    RateLimiter.Test.start(limiters: [busy: [windows: windows]])
    %{handle: handle}
  end

  describe "a batch" do
    test "is decided in parts of 128 decisions, one for each entry and window", %{handle: handle} do
      for {windows, most} <- [{[:w], 128}, {[:w, :v], 64}, {[], 64}], more <- [0, 1, 3 * most] do
        entries = List.duplicate({"u", 0}, most + more)
        assert {answers, rest} = Native.request_batch(handle, entries, windows, :peek, nil)
        assert {length(answers), length(rest)} == {most, more}
      end
    end

    test "ends a part when its ids weigh much", %{handle: handle} do
      entries = for n <- 1..128, do: {String.duplicate("#{rem(n, 10)}", 60_000), 1}
      assert {[_, _], rest} = Native.request_batch(handle, entries, :w, :take, nil)
      assert length(rest) == 126
      entries = for n <- 1..128, do: {Enum.to_list(n..(n + 700)), 1}
      assert {[_, _], _rest} = Native.request_batch(handle, entries, :w, :take, nil)
    end

    test "ends a part before a large id, and is about the large id then", %{handle: handle} do
      for id <- @large do
        entries = [{"u", 1}, {id, 1}, {"v", 1}]

        assert {[_one], [{^id, 1}, {"v", 1}] = rest} =
                 Native.request_batch(handle, entries, :w, :take, nil)

        assert Native.request_batch(handle, rest, :w, :take, nil) == :large_id
      end
    end

    # Each part charges its process for the time that it took.
    test "uses up its time slice, so that it yields to other processes" do
      entries = for n <- 1..12_800, do: {n, 1}
      {:reductions, before} = Process.info(self(), :reductions)
      RateLimiter.check_batch(:busy, entries, :w)
      {:reductions, later} = Process.info(self(), :reductions)
      # A hundred parts of a twentieth of a slice of 4,000 reductions.
      assert later - before > 100 * 200
    end

    test "of any length and of large ids is decided entry by entry, in order" do
      ids =
        Enum.to_list(1..300) ++ @large ++ @small ++ Enum.to_list(1..300) ++ Enum.reverse(@large)

      entries = for {id, n} <- Enum.with_index(ids), do: {id, n}

      expected =
        for {{id, cost}, at} <- Enum.with_index(entries) do
          Enum.sum(for {^id, cost} <- Enum.take(entries, at), do: cost) + cost
        end

      answers = RateLimiter.check_batch(:busy, entries, :w)
      assert for({:ok, usage} <- answers, do: usage.current) == expected
      assert {:ok, usages} = RateLimiter.get_usage_batch(:busy, ids, :w)
      assert for({id, _usage} <- usages, do: id) == ids
    end

    test "takes nothing if an id is invalid, however late it comes" do
      entries = for n <- 1..1_000, do: {n, 1}

      for bad <- [nil, 1.5, %{}, self(), [1 | 2], {1, [nil]}, [@huge, 1.5], make_ref(), <<1::3>>] do
        assert_raise ArgumentError, fn ->
          RateLimiter.check_batch(:busy, entries ++ [{bad, 1}], :w)
        end
      end

      assert {:ok, %{current: 0}} = RateLimiter.get_usage(:busy, 1, :w)
    end
  end

  describe "an id" do
    test "is hashed on the caller's scheduler up to a size", %{handle: handle} do
      for id <- @small,
          do: assert({:ok, _, _, _, _, _, _, _, _, _} = Native.check(handle, id, :w, 1))

      for id <- @large, do: assert(Native.check(handle, id, :w, 1) == :large_id)
    end

    test "that is large is the same id in every call" do
      for id <- @large do
        assert {:ok, %{current: 2}} = RateLimiter.check_and_track(:busy, id, :w, cost: 2)
        assert {:ok, %{current: 3}} = RateLimiter.check_and_track(:busy, id, [:w, :v])
        options = [request_id: "r", cost: 4]
        assert {:ok, _} = RateLimiter.check_and_track(:busy, id, :w, options)
        assert {:ok, %{current: 7}} = RateLimiter.check_and_track(:busy, id, :w, options)
        assert [{:ok, %{current: 8}}] = RateLimiter.check_batch(:busy, [{id, 1}], :w)
        assert {:ok, %{current: 6}} = RateLimiter.refund(:busy, id, :w, cost: 2)
        assert {:ok, %{current: 6}} = RateLimiter.get_usage(:busy, id, :w)
        assert :ok = RateLimiter.reset(:busy, id)
        assert {:ok, %{current: 0}} = RateLimiter.get_usage(:busy, id, :w)
      end
    end

    test "that is large and invalid raises, as others do", %{handle: handle} do
      for bad <- [Enum.to_list(1..100_000) ++ [nil], [@huge, 1.5], {@huge, self()}] do
        assert Native.hash_id(handle, bad) == :bad_id
        assert_raise ArgumentError, fn -> RateLimiter.check_and_track(:busy, bad, :w) end
      end
    end
  end
end
