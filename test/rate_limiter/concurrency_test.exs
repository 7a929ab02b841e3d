defmodule RateLimiter.ConcurrencyTest do
  # Many concurrent processes: they are admitted exactly up to the limit.
  use ExUnit.Case, async: true

  alias RateLimiter.{Store, Usage}
  alias RateLimiter.Core.Native

  @processes 100

  # The limiter has a clock that stands still, and is bound to a name that every process can use.
  setup context do
    name = context.test

    windows =
      for {window, options} <- [
            bucket: [limit: 5_000, per: :second],
            slide: [algorithm: :sliding_window, limit: 5_000, per: :minute],
            log: [algorithm: :sliding_log, limit: 5_000, per: :minute],
            fixed: [algorithm: :fixed_window, limit: 5_000, per: :minute],
            narrow: [algorithm: :fixed_window, limit: 1_000, per: :minute, aligned: false]
          ],
          do: {window, RateLimiter.Core.Limit.new!(options, [])}

    clock = Native.manual_clock(0)

    {:ok, _handle, owner} =
      Store.new_limiter(%{windows: windows, events: :none, max_keys: 100_000}, clock)

    :ok = Native.bind(name, owner)
    on_exit(fn -> Native.drop(owner) end)
    %{name: name, clock: clock}
  end

  # Runs the work in many processes that start together, and returns the result of each.
  defp at_once(processes \\ @processes, work) do
    tasks =
      for n <- 1..processes do
        Task.async(fn ->
          receive do: (:go -> work.(n))
        end)
      end

    for task <- tasks, do: send(task.pid, :go)
    Task.await_many(tasks, :infinity)
  end

  defp admitted(calls), do: Enum.count(calls, &match?({:ok, _}, &1))

  describe "check_and_track/3 from a hundred processes" do
    for window <- [:bucket, :slide, :log, :fixed] do
      test "admits exactly the limit of a #{window}", %{name: name} do
        window = unquote(window)

        admitted =
          at_once(fn _ ->
            admitted(for _ <- 1..100, do: RateLimiter.check_and_track(name, "hot", window))
          end)

        assert Enum.sum(admitted) == 5_000

        assert {:ok, %Usage{remaining: 0, current: 5_000}} =
                 RateLimiter.get_usage(name, "hot", window)
      end
    end

    test "admits up to the limit with mixed costs", %{name: name} do
      taken =
        at_once(fn n ->
          Enum.sum(
            for k <- 1..60,
                cost = rem(n * k, 7),
                {:ok, _} <- [RateLimiter.check_and_track(name, "hot", :bucket, cost: cost)],
                do: cost
          )
        end)

      {:ok, usage} = RateLimiter.get_usage(name, "hot", :bucket)
      assert Enum.sum(taken) == usage.current
      assert usage.current <= 5_000
      # The rest is less than the smallest denied cost.
      assert usage.remaining < 7
    end

    test "over all windows charges all of them or none", %{name: name} do
      admitted =
        at_once(fn _ ->
          admitted(for _ <- 1..100, do: RateLimiter.check_and_track(name, "hot"))
        end)

      assert Enum.sum(admitted) == 1_000
      {:ok, usage} = RateLimiter.get_usage(name, "hot")
      assert for({_window, usage} <- usage.windows, uniq: true, do: usage.current) == [1_000]
    end

    test "over different windows keeps the count of each window", %{name: name} do
      counts =
        at_once(fn n ->
          windows = Enum.at([[:bucket], [:bucket, :narrow], [:narrow, :log], []], rem(n, 4))

          {windows,
           admitted(for _ <- 1..50, do: RateLimiter.check_and_track(name, "hot", windows))}
        end)

      {:ok, usage} = RateLimiter.get_usage(name, "hot")

      for window <- [:bucket, :slide, :log, :fixed, :narrow] do
        charged =
          Enum.sum(for {windows, count} <- counts, windows == [] or window in windows, do: count)

        assert usage.windows[window].current == charged
      end
    end

    test "on many keys keeps the count of each key", %{name: name} do
      at_once(fn n ->
        for k <- 1..200, do: {:ok, _} = RateLimiter.check_and_track(name, rem(n * k, 50), :bucket)
      end)

      {:ok, usages} = RateLimiter.get_usage_batch(name, Enum.to_list(0..49), :bucket)
      assert Enum.sum(for {_id, usage} <- usages, do: usage.current) == @processes * 200
    end

    test "while time passes admits no more than the limit and its refill", %{
      name: name,
      clock: clock
    } do
      mover =
        Task.async(fn -> for _ <- 1..1_000, do: Native.manual_clock_advance(clock, 1_000_000) end)

      admitted =
        at_once(20, fn _ ->
          admitted(for _ <- 1..2_000, do: RateLimiter.check_and_track(name, "hot", :bucket))
        end)

      Task.await(mover, :infinity)
      # One second has passed in all: the full bucket, and at most one second of refill.
      assert Enum.sum(admitted) in 5_000..10_000
    end

    test "with concurrent refunds never fills a bucket above full", %{name: name} do
      at_once(fn _ ->
        for _ <- 1..50 do
          {:ok, _} = RateLimiter.check_and_track(name, "hot", :bucket)
          {:ok, usage} = RateLimiter.refund(name, "hot", :bucket)
          assert usage.remaining <= 5_000
        end
      end)

      assert {:ok, %Usage{current: 0}} = RateLimiter.get_usage(name, "hot", :bucket)
    end

    test "with concurrent resets keeps remaining between 0 and the maximum", %{name: name} do
      at_once(fn n ->
        for _ <- 1..100 do
          if rem(n, 5) == 0, do: :ok = RateLimiter.reset(name, "hot")
          {:ok, usage} = RateLimiter.check_and_track(name, "hot", :bucket, cost: 0)
          assert usage.remaining in 0..5_000
          RateLimiter.check_and_track(name, "hot", :bucket, cost: 90)
        end
      end)
    end
  end

  describe "check_batch/3 from many processes" do
    test "admits exactly the limit", %{name: name} do
      admitted =
        at_once(40, fn _ ->
          admitted(RateLimiter.check_batch(name, List.duplicate({"hot", 1}, 200), :bucket))
        end)

      assert Enum.sum(admitted) == 5_000
    end
  end
end
