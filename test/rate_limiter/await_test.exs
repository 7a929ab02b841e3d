defmodule RateLimiter.AwaitTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Await.Queue
  alias RateLimiter.Support.Redis

  @windows [
    bucket: [limit: 5, per: :second],
    window: [algorithm: :sliding_window, limit: 5, per: :second],
    log: [algorithm: :sliding_log, limit: 5, per: :second],
    fixed: [algorithm: :fixed_window, limit: 5, per: :second]
  ]

  setup do
    RateLimiter.Test.start(limiters: [api: [windows: @windows]])
  end

  # A caller in a process of its own, which sends its answer.
  defp caller(name, windows, options \\ []) do
    test = self()
    before = waiting(windows)

    {:ok, pid} =
      Task.start_link(fn ->
        answer = RateLimiter.await(:api, "u", windows, [timeout: :infinity] ++ options)
        send(test, {:answer, name, answer})
      end)

    eventually(fn -> waiting(windows) > before end)
    pid
  end

  defp waiting(windows), do: {handle(:api), "u", windows} |> Queue.ahead() |> elem(0)
  defp handle(limiter), do: RateLimiter.Store.Lookup.handle!(limiter)

  for window <- Keyword.keys(@windows) do
    describe "a #{window}" do
      @describetag window: window

      test "admits callers in order, as soon as the limit allows it", %{window: window} do
        {:ok, _usage} = RateLimiter.await(:api, "u", window, cost: 4)
        names = for n <- 1..4, do: {n, caller(n, window, cost: 3)}
        refute_received {:answer, _name, _answer}

        for {n, _pid} <- names do
          # Nobody is admitted early: what is left is too little.
          {:error, :rate_limited, %{retry_after_ms: wait_ms}} =
            RateLimiter.peek(:api, "u", window, cost: 3)

          RateLimiter.Test.advance(wait_ms - 1)
          refute_received {:answer, _name, _answer}
          advance_until_answered(n)
        end
      end

      test "says at once how long a caller has to wait if that is too long", %{window: window} do
        assert {:ok, _usage} = RateLimiter.await(:api, "u", window, cost: 5, timeout: 0)
        {:error, :rate_limited, denied} = RateLimiter.peek(:api, "u", window)
        assert denied.retry_after_ms > 1
        timeout = denied.retry_after_ms - 1

        assert RateLimiter.await(:api, "u", window, timeout: timeout) ==
                 {:error, :timeout, denied}
      end
    end
  end

  # Moves the clock, by which others may have been admitted too late, never two at once.
  defp advance_until_answered(n) do
    receive do
      {:answer, ^n, answer} -> assert {:ok, _usage} = answer
    after
      5 ->
        RateLimiter.Test.advance(1)
        advance_until_answered(n)
    end
  end

  describe "the time that a caller has to wait" do
    setup do
      {:ok, _usage} = RateLimiter.check_and_track(:api, "u", cost: 5)
      :ok
    end

    defp wait_ms(windows, cost) do
      assert {:error, :timeout, usage} =
               RateLimiter.await(:api, "u", windows, cost: cost, timeout: 0)

      assert usage.cost == cost
      usage.retry_after_ms
    end

    test "counts those who wait before it" do
      caller(1, :bucket, cost: 2)
      assert wait_ms(:bucket, 1) == 600
      caller(2, :bucket, cost: 2)
      assert wait_ms(:bucket, 1) == 1_000
      # More than the bucket holds.
      assert wait_ms(:bucket, 3) == 1_400
      caller(3, :bucket, cost: 5)
      assert wait_ms(:bucket, 5) == 2_800
    end

    test "is never more than the caller really waits" do
      for window <- [:window, :log, :fixed], cost <- [1, 2, 5] do
        for id <- ["u", "v"], do: RateLimiter.reset(:api, id)
        {:ok, _usage} = RateLimiter.check_and_track(:api, "u", window, cost: 3)
        costs = for _ <- 1..Enum.random(1..4), do: Enum.random(3..5)

        callers =
          for {ahead, n} <- Enum.with_index(costs), do: caller({window, n}, window, cost: ahead)

        claimed = wait_ms(window, cost)
        Enum.each(callers, &stop/1)
        eventually(fn -> waiting(window) == 0 end)
        assert claimed <= really(window, costs ++ [cost], 0)
      end
    end

    # Each takes its cost as soon as it can.
    defp really(_window, [], waited), do: waited

    defp really(window, [cost | costs] = all, waited) do
      case RateLimiter.check_and_track(:api, "u", window, cost: cost) do
        {:ok, _usage} ->
          really(window, costs, waited)

        {:error, :rate_limited, %{retry_after_ms: wait_ms}} ->
          RateLimiter.Test.advance(wait_ms)
          really(window, all, waited + wait_ms)
      end
    end

    defp stop(pid) do
      Process.unlink(pid)
      Process.exit(pid, :kill)
    end

    test "is infinite for a cost that no limit can admit, and such a caller never waits" do
      caller(1, :bucket)

      for cost <- [-1, 6, 2 ** 70], windows <- [:bucket, [:log, :bucket], []] do
        assert {:error, :timeout, %{retry_after_ms: :infinity}} =
                 RateLimiter.await(:api, "u", windows, cost: cost, timeout: :infinity)
      end
    end

    test "is that of the window which admits last" do
      assert wait_ms([:bucket, :fixed], 1) == 1_000
      caller(1, [:bucket, :fixed], cost: 4)
      assert wait_ms([:fixed, :bucket], 2) >= 1_200
    end
  end

  test "a caller that is killed has taken nothing, and the next one moves up" do
    {:ok, _usage} = RateLimiter.check_and_track(:api, "u", :bucket, cost: 5)
    first = caller(1, :bucket, cost: 5)
    caller(2, :bucket)
    stop(first)
    RateLimiter.Test.advance(200)
    assert_receive {:answer, 2, {:ok, %{remaining: 0}}}, 30_000
  end

  test "a caller that waits sees that its id was reset" do
    {:ok, _usage} = RateLimiter.check_and_track(:api, "u", :fixed, cost: 5)
    caller(1, :fixed)
    :ok = RateLimiter.reset(:api, "u")
    assert_receive {:answer, 1, {:ok, %{remaining: 4}}}, 30_000
  end

  test "callers of other ids and other windows are not waited for" do
    {:ok, _usage} = RateLimiter.check_and_track(:api, "u", :fixed, cost: 5)
    caller(1, :fixed)
    assert {:ok, _usage} = RateLimiter.await(:api, "v", :fixed, timeout: 0)
    assert {:ok, _usage} = RateLimiter.await(:api, "u", :bucket, timeout: 0)
  end

  test "a caller that waits counts as denied once" do
    {:ok, _usage} = RateLimiter.check_and_track(:api, "u", :bucket, cost: 5)
    denied = fn -> RateLimiter.stats().denials end
    before = denied.()
    caller(1, :bucket, cost: 5)
    for _ <- 1..10, do: RateLimiter.Test.advance(100)
    assert_receive {:answer, 1, {:ok, _usage}}, 30_000
    assert denied.() == before + 1
  end

  test "a limiter that is removed raises in those who wait" do
    {:ok, _usage} = RateLimiter.check_and_track(:api, "u", :bucket, cost: 5)
    Process.flag(:trap_exit, true)
    pid = caller(1, :bucket)

    ExUnit.CaptureLog.capture_log(fn ->
      :ok = RateLimiter.remove_limiter(:api)

      assert_receive {:EXIT, ^pid, {%ArgumentError{message: "unknown limiter :api" <> _}, _}},
                     30_000
    end)
  end

  test "misuse raises and says what is wrong" do
    for {call, message} <- [
          {["api", "u"], ~r/"api"/},
          {[:unknown, "u"], ~r/unknown limiter :unknown/},
          {[:api, nil], ~r/nil/},
          {[:api, "u", :unknown], ~r/:unknown/},
          {[:api, "u", ["bucket"]], ~r/"bucket"/},
          {[:api, "u", [:bucket | :log]], ~r/bucket/},
          {[:api, "u", :bucket, [timeout: -1]], ~r/timeout: expected/},
          {[:api, "u", :bucket, [timeout: 1.5]], ~r/timeout: expected/},
          {[:api, "u", :bucket, [cost: "1"]], ~r/cost: expected an integer/},
          {[:api, "u", :bucket, [waits: 1]], ~r/unknown option :waits/}
        ] do
      assert_raise ArgumentError, message, fn -> apply(RateLimiter, :await, call) end
    end
  end

  test "without a test's clock, callers wait in real time, also for Redis", %{test: name} do
    server = Redis.start!()

    start_supervised!(
      {RateLimiter,
       name: name,
       store: {:redis, url: Redis.url(server), timeout: 20_000, nodes: 1},
       limiters: [
         {name, windows: [w: [limit: 1, per: {50, :millisecond}]]}
       ]}
    )

    eventually(fn -> RateLimiter.health_check(name) == :ok end)

    tasks =
      for _ <- 1..5,
          do: Task.async(fn -> RateLimiter.await(name, "u", :w, timeout: :infinity) end)

    for answer <- Task.await_many(tasks, :infinity), do: assert({:ok, %{source: :redis}} = answer)
  end

  test "nobody is admitted above the limit, however many wait", %{test: name} do
    start_supervised!(
      {RateLimiter,
       name: name,
       limiters: [{name, windows: [w: [limit: 10, per: {100, :millisecond}, burst: 1]]}]}
    )

    tasks =
      for _ <- 1..30 do
        Task.async(fn ->
          {:ok, _usage} = RateLimiter.await(name, "u", :w, timeout: :infinity)
          System.monotonic_time(:millisecond)
        end)
      end

    times = tasks |> Task.await_many(:infinity) |> Enum.sort()
    # One each 10 ms: the last at least 290 ms after the first. A reading may be rounded down.
    assert List.last(times) - hd(times) >= 280
  end
end
