defmodule RateLimiter.Store.CountsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Store.Counts

  test "adds up sources and windows" do
    native = %{
      windows: [
        {:a, [{:redis, 5, 2, 0}, {:fallback, 1, 3, 4}], 7, 2},
        {:b, [{:redis, 10, 0, 0}, {:fallback, 0, 0, 0}], 0, 0}
      ],
      keys: 3,
      slots: 16,
      away: true
    }

    assert Counts.of_limiter(native) == %{
             checks: 25,
             denials: 5,
             keys: 3,
             away?: true,
             windows: %{
               a: %{
                 allowed: 6,
                 denied: 5,
                 unavailable: 4,
                 thresholds: 7,
                 would_deny: 2,
                 sources: %{
                   redis: %{allowed: 5, denied: 2},
                   fallback: %{allowed: 1, denied: 3}
                 }
               },
               b: %{
                 allowed: 10,
                 denied: 0,
                 unavailable: 0,
                 thresholds: 0,
                 would_deny: 0,
                 sources: %{
                   redis: %{allowed: 10, denied: 0},
                   fallback: %{allowed: 0, denied: 0}
                 }
               }
             }
           }
  end

  describe "a limiter in memory" do
    setup do
      windows = [a: [limit: 2, per: :hour], b: [limit: 3, per: :hour]]
      RateLimiter.Test.start(limiters: [counted: [windows: windows]])
    end

    test "counts each call once, under the window that decided" do
      {:ok, %{window: :a}} = RateLimiter.check_and_track(:counted, "u")
      {:ok, _} = RateLimiter.check_and_track(:counted, "u", :b, cost: 2)
      {:error, :rate_limited, %{window: :b}} = RateLimiter.check_and_track(:counted, "u")
      RateLimiter.check_batch(:counted, [{"v", 1}, {"v", 1}, {"v", 1}], :a)
      {:ok, _} = RateLimiter.peek(:counted, "w", :a)
      {:ok, _} = RateLimiter.refund(:counted, "u", :a)

      assert %{
               checks: 6,
               denials: 2,
               windows: %{
                 a: %{allowed: 3, denied: 1, sources: %{local: %{allowed: 3, denied: 1}}},
                 b: %{allowed: 1, denied: 1, unavailable: 0}
               }
             } = RateLimiter.stats().limiters.counted
    end

    test "keeps its counts when a limit changes" do
      {:ok, _} = RateLimiter.check_and_track(:counted, "u", :b)
      :ok = RateLimiter.update_limit(:counted, :b, limit: 1)
      {:error, :rate_limited, _} = RateLimiter.check_and_track(:counted, "u", :b)
      assert %{b: %{allowed: 1, denied: 1}} = RateLimiter.stats().limiters.counted.windows
    end
  end
end
