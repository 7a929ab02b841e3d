defmodule RateLimiter.Instance.SweeperTest do
  use ExUnit.Case, async: true

  alias RateLimiter.{Instance, Test}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Instance.Sweeper

  describe "plan/1" do
    test "returns enough steps to examine every slot, and none for a limiter that was removed" do
      assert Sweeper.plan([]) == []

      assert Sweeper.plan(a: 0, b: 1, c: 2_000, d: 2_001, e: 5_000_000) == [
               b: 1,
               c: 1,
               d: 2,
               e: 2_500
             ]
    end
  end

  describe "split/2" do
    test "returns the first steps, across limiters, and the rest" do
      work = [a: 2, b: 1, c: 4]
      assert Sweeper.split(work, 0) == {[], work}
      assert Sweeper.split(work, 1) == {[a: 1], [a: 1, b: 1, c: 4]}
      assert Sweeper.split(work, 2) == {[a: 2], [b: 1, c: 4]}
      assert Sweeper.split(work, 5) == {[a: 2, b: 1, c: 2], [c: 2]}
      assert Sweeper.split(work, 7) == {work, []}
      assert Sweeper.split(work, 99) == {work, []}
      assert Sweeper.split([], 3) == {[], []}
    end
  end

  describe "handle_info/2" do
    setup do
      Test.start(
        limiters: [
          swept: [events: :none, windows: [w: [limit: 10, per: :minute]]],
          other: [events: :none, windows: [w: [limit: 10, per: :minute]]]
        ]
      )

      {:ok, state} = Sweeper.init(Test.Registry.instance())
      %{state: state}
    end

    defp tick(state) do
      {:noreply, state} = Sweeper.handle_info(:tick, state)
      state
    end

    defp fill(limiter, keys),
      do: RateLimiter.check_batch(limiter, for(n <- 1..keys, do: {n, 1}), :w)

    test "removes every expired key in a hundred ticks, and none with a debt", %{state: state} do
      fill(:swept, 100_000)
      fill(:other, 10)
      state = Enum.reduce(1..100, state, fn _, state -> tick(state) end)
      assert %{keys: 100_010, swept: 0} = RateLimiter.stats()

      Test.advance(6_000)
      {:ok, _} = RateLimiter.check_and_track(:swept, 77, :w, cost: 5)
      Enum.reduce(1..100, state, fn _, state -> tick(state) end)
      assert %{keys: 1, swept: 100_009} = RateLimiter.stats()
      assert {:ok, %{current: 5}} = RateLimiter.get_usage(:swept, 77, :w)
    end

    # 300,000 expired request ids without a single key stayed, and denied newcomers, since the sweeper planned by keys.
    test "removes every expired request id, also of a limiter without keys", %{state: state} do
      request = [request_id: "r", request_ttl: {1, :second}]

      for n <- 1..100_000,
          do: {:ok, _} = RateLimiter.check_and_track(:swept, n, :w, request)

      # Each reset is remembered for as long as a call before it would have counted.
      for n <- 1..100_000, do: :ok = RateLimiter.reset(:swept, n)
      Test.advance(:hour)
      Enum.reduce(1..100, state, fn _, state -> tick(state) end)
      assert %{keys: 0, request_ids: 0} = RateLimiter.stats()
    end

    # A flood leaves thousands of empty stripes, which the few keys after it did not account for.
    test "removes idle ids in a hundred ticks after a flood has left", %{state: state} do
      fill(:swept, 300_000)
      Test.advance(:minute)
      state = Enum.reduce(1..100, state, fn _, state -> tick(state) end)
      assert RateLimiter.stats().keys == 0
      fill(:swept, 1_000)
      Test.advance(:minute)
      Enum.reduce(1..100, state, fn _, state -> tick(state) end)
      assert RateLimiter.stats().keys == 0
    end

    test "does about a hundredth of a pass in each tick", %{state: state} do
      fill(:swept, 100_000)
      Test.advance(:minute)
      state = tick(state)
      assert RateLimiter.stats().swept in 0..5_000
      state = tick(state)
      assert RateLimiter.stats().swept in 1..10_000
      tick(state)
      assert RateLimiter.stats().swept in 1_000..15_000
    end

    test "continues after a limiter was removed", %{state: state} do
      fill(:swept, 100_000)
      fill(:other, 10)
      state = tick(state)
      :ok = RateLimiter.remove_limiter(:swept)
      Enum.reduce(1..200, state, fn _, state -> tick(state) end)
      assert [other: _] = RateLimiter.limiters()
    end

    test "does nothing for an empty instance" do
      {:ok, state} = Sweeper.init(Instance.new(ready?: true))
      assert %{work: [], steps: 0, ticks: 99} = tick(state)
    end
  end

  describe "start_link/1" do
    test "starts a process that ticks" do
      start_supervised!({RateLimiter, name: :sweeping})
      :erlang.trace(sweeper(:sweeping), true, [:receive])
      assert_receive {:trace, _sweeper, :receive, :tick}, 30_000
    end

    defp sweeper(instance) do
      children = Supervisor.which_children(Registry.whereis({:instance, instance}))
      hd(for {Sweeper, pid, _, _} <- children, do: pid)
    end
  end
end
