defmodule RateLimiter.AlgorithmTest do
  # The laws of every algorithm, through the public API, over random calls and times.
  use ExUnit.Case, async: true

  alias RateLimiter.{Test, Usage}

  @algorithms [
    bucket: [limit: 7, per: :second],
    burst: [algorithm: :gcra, limit: 7, per: :second, burst: 20],
    slow: [algorithm: :leaky_bucket, limit: 5, per: {2, :minute}],
    slide: [algorithm: :sliding_window, limit: 13, per: :second],
    coarse: [algorithm: :sliding_window, limit: 13, per: {3, :second}, sub_windows: 1],
    fine: [algorithm: :sliding_window, limit: 13, per: :second, sub_windows: 100],
    log: [algorithm: :sliding_log, limit: 13, per: :second],
    fixed: [algorithm: :fixed_window, limit: 13, per: :second],
    own: [algorithm: :fixed_window, limit: 13, per: :second, aligned: false]
  ]

  setup do
    Test.start(limiters: [laws: [events: :none, windows: @algorithms]])
  end

  # The same numbers in every run.
  defp seed(window), do: :rand.seed(:exsss, {1, 2, :erlang.phash2(window)})

  for {window, _options} <- @algorithms do
    describe "a #{window} window" do
      test "admits exactly after retry_after_ms, and not a millisecond earlier" do
        window = unquote(window)
        seed(window)

        denials =
          for _ <- 1..500, reduce: 0 do
            denials ->
              Test.advance(:rand.uniform(400) - 1)
              cost = :rand.uniform(5) - 1

              case RateLimiter.check_and_track(:laws, "u", window, cost: cost) do
                {:ok, _usage} -> denials
                {:error, :rate_limited, usage} -> denials + assert_exact(usage, window, cost)
              end
          end

        assert denials > 20
      end

      test "has one unit more exactly after next_after_ms, and not a millisecond earlier" do
        window = unquote(window)
        seed(window)

        for _ <- 1..200 do
          Test.advance(:rand.uniform(400) - 1)
          cost = :rand.uniform(5) - 1
          answer = RateLimiter.check_and_track(:laws, "u", window, cost: cost)
          usage = elem(answer, tuple_size(answer) - 1)
          assert usage.next_after_ms == 0 == (usage.remaining == usage.max)

          if usage.next_after_ms > 0 do
            Test.advance(usage.next_after_ms - 1)
            assert {:ok, %Usage{remaining: left}} = RateLimiter.get_usage(:laws, "u", window)
            assert left == usage.remaining
            Test.advance(1)
            assert {:ok, %Usage{remaining: left}} = RateLimiter.get_usage(:laws, "u", window)
            assert left > usage.remaining
          end
        end
      end

      test "is unused exactly after reset_after_ms, and not a millisecond earlier" do
        window = unquote(window)
        seed(window)

        for _ <- 1..100 do
          {:ok, _} = RateLimiter.check_and_track(:laws, "u", window, cost: 1 + :rand.uniform(2))
          {:ok, usage} = RateLimiter.get_usage(:laws, "u", window)
          Test.advance(usage.reset_after_ms - 1)
          assert {:ok, %Usage{current: current}} = RateLimiter.get_usage(:laws, "u", window)
          assert current > 0
          Test.advance(1)

          assert {:ok, %Usage{current: 0, reset_after_ms: 0}} =
                   RateLimiter.get_usage(:laws, "u", window)

          Test.advance(:rand.uniform(3_000))
        end
      end

      test "admits its maximum from empty, for any costs" do
        window = unquote(window)
        seed(window)

        for round <- 1..100 do
          admitted =
            for _ <- 1..40,
                cost = :rand.uniform(4),
                {:ok, _} <- [RateLimiter.check_and_track(:laws, round, window, cost: cost)],
                do: cost

          {:ok, usage} = RateLimiter.get_usage(:laws, round, window)
          assert Enum.sum(admitted) == usage.current
          assert usage.current == usage.max
        end
      end
    end
  end

  # Waits for the end of a denial: a peek a millisecond early is denied, and a call on time is admitted.
  defp assert_exact(usage, window, cost) do
    assert usage.retry_after_ms > 0
    Test.advance(usage.retry_after_ms - 1)

    assert {:error, :rate_limited, %Usage{retry_after_ms: 1}} =
             RateLimiter.peek(:laws, "u", window, cost: cost)

    Test.advance(1)
    assert {:ok, _} = RateLimiter.check_and_track(:laws, "u", window, cost: cost)
    1
  end

  describe "all windows together" do
    test "admit a call exactly if each of them does" do
      seed(:all)

      for _ <- 1..300 do
        Test.advance(:rand.uniform(300))
        cost = :rand.uniform(4)

        each =
          for {window, _} <- @algorithms,
              do: elem(RateLimiter.peek(:laws, "u", window, cost: cost), 0)

        {:ok, before} = RateLimiter.get_usage(:laws, "u")
        together = RateLimiter.check_and_track(:laws, "u", cost: cost)
        assert elem(together, 0) == if(:error in each, do: :error, else: :ok)
        {:ok, later} = RateLimiter.get_usage(:laws, "u")
        taken = if elem(together, 0) == :ok, do: cost, else: 0

        for {window, usage} <- later.windows,
            do: assert(usage.current == before.windows[window].current + taken)
      end
    end

    test "deny a call until their longest wait is over" do
      {:ok, _} = RateLimiter.check_and_track(:laws, "u", cost: 3)
      {:error, :rate_limited, usage} = RateLimiter.check_and_track(:laws, "u", cost: 3)
      waits = for {_window, usage} <- usage.windows, do: usage.retry_after_ms
      assert usage.retry_after_ms == Enum.max(waits)
      Test.advance(usage.retry_after_ms - 1)
      assert {:error, :rate_limited, _} = RateLimiter.peek(:laws, "u", cost: 3)
      Test.advance(1)
      assert {:ok, _} = RateLimiter.peek(:laws, "u", cost: 3)
    end
  end
end
