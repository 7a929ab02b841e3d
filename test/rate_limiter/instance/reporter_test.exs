defmodule RateLimiter.Instance.ReporterTest do
  # Reports of an instance, through the public API.
  use ExUnit.Case, async: true

  setup do
    RateLimiter.Test.start(
      limiters: [
        api: [
          events: :none,
          max_keys: 1_000,
          windows: [
            bucket: [limit: 100, per: :second],
            full: [limit: 100, per: :second, burst: 300],
            slide: [algorithm: :sliding_window, limit: 100, per: {10, :second}, sub_windows: 5],
            log: [algorithm: :sliding_log, limit: 100, per: :minute],
            fixed: [algorithm: :fixed_window, limit: 100, per: :hour],
            own: [algorithm: :fixed_window, limit: 100, per: :day, aligned: false]
          ]
        ]
      ]
    )
  end

  describe "limiters/1" do
    test "returns each window as configured and with its current maximum" do
      assert RateLimiter.limiters() == [
               api: %{
                 events: :none,
                 max_keys: 1_000,
                 threshold: nil,
                 scale: 1.0,
                 windows: [
                   bucket: %{
                     algorithm: :token_bucket,
                     limit: 100,
                     per: :second,
                     burst: 100,
                     max: 100
                   },
                   full: %{
                     algorithm: :token_bucket,
                     limit: 100,
                     per: :second,
                     burst: 300,
                     max: 300
                   },
                   slide: %{
                     algorithm: :sliding_window,
                     limit: 100,
                     per: {10, :second},
                     sub_windows: 5,
                     max: 100
                   },
                   log: %{algorithm: :sliding_log, limit: 100, per: :minute, max: 100},
                   fixed: %{
                     algorithm: :fixed_window,
                     limit: 100,
                     per: :hour,
                     aligned: true,
                     max: 100
                   },
                   own: %{
                     algorithm: :fixed_window,
                     limit: 100,
                     per: :day,
                     aligned: false,
                     max: 100
                   }
                 ]
               }
             ]
    end

    test "returns the configured name of the algorithm" do
      windows = [
        a: [algorithm: :gcra, limit: 1, per: :second],
        b: [algorithm: :leaky_bucket, limit: 1, per: :second, burst: 2]
      ]

      :ok = RateLimiter.add_limiter(:buckets, windows: windows)
      windows = RateLimiter.limiters()[:buckets].windows
      assert %{algorithm: :gcra, burst: 1} = windows[:a]
      assert %{algorithm: :leaky_bucket, burst: 2} = windows[:b]
    end
  end

  describe "stats/1" do
    test "returns keys, checks and denials of each limiter and in total" do
      :ok = RateLimiter.add_limiter(:other, windows: [w: [limit: 1, per: :second]])
      for id <- [1, 1, 2, 3], do: RateLimiter.check_and_track(:other, id, :w)
      {:ok, _} = RateLimiter.check_and_track(:api, "u")
      {:ok, _} = RateLimiter.peek(:api, "v")
      {:ok, _} = RateLimiter.get_usage(:api, "v")

      stats = RateLimiter.stats()
      assert %{keys: 3, checks: 4, denials: 1, overflowed: 0, swept: 0} = stats.limiters.other
      assert %{keys: 1, checks: 1, denials: 0} = stats.limiters.api
      assert %{store: :local, keys: 4, checks: 5, denials: 1, overflowed: 0, swept: 0} = stats
      assert stats.memory == stats.limiters.api.memory + stats.limiters.other.memory
      assert stats.memory > 0
    end
  end

  describe "health_check/1" do
    test "lists the limiters whose ids have reached :max_keys, until one is removed" do
      :ok = RateLimiter.add_limiter(:small, max_keys: 2, windows: [w: [limit: 1, per: :second]])
      assert RateLimiter.health_check() == :ok
      for id <- 1..3, do: RateLimiter.check_and_track(:small, id, :w)
      assert RateLimiter.health_check() == {:degraded, {:full, [:small]}}
      :ok = RateLimiter.reset(:small, 1)
      assert RateLimiter.health_check() == :ok
    end

    # They answered :ok, and did nothing.
    test "a full limiter says of ids that it judges together that nothing was given back" do
      window = [algorithm: :sliding_window, limit: 100, per: :minute]
      :ok = RateLimiter.add_limiter(:small, max_keys: 1, windows: [v: window, w: window])
      for id <- 1..1_000, do: RateLimiter.check_and_track(:small, id, :w)

      assert {:error, :unavailable, %{window: :w, current: used}} =
               RateLimiter.refund(:small, 777, :w, cost: 5)

      assert used > 0
      assert {:error, :unavailable, %{windows: %{v: _, w: _}}} = RateLimiter.refund(:small, 777)
      assert {:error, :unavailable, nil} = RateLimiter.reset(:small, 777)
      assert {:ok, %{current: ^used}} = RateLimiter.get_usage(:small, 777, :w)
      assert {:ok, %{current: 0}} = RateLimiter.refund(:small, 1, :w)
      assert RateLimiter.reset(:small, 1) == :ok
    end

    test "a full limiter has room as soon as request ids have expired" do
      window = [limit: 10, per: :second]
      :ok = RateLimiter.add_limiter(:small, max_keys: 1_000, windows: [w: window])

      for request <- 1..999 do
        options = [request_id: "#{request}", request_ttl: {1, :second}]
        {:ok, _} = RateLimiter.check_and_track(:small, "one", :w, options)
        RateLimiter.reset(:small, "one")
      end

      RateLimiter.Test.advance(:minute)

      assert for(id <- 1..300, do: RateLimiter.check_and_track(:small, id, :w))
             |> Enum.all?(&match?({:ok, %{current: 1}}, &1))

      assert RateLimiter.stats().limiters.small.overflowed == 0
      assert RateLimiter.health_check() == :ok
    end

    test "counts the timestamps of logs as keys" do
      log = [algorithm: :sliding_log, limit: 1_000, per: :hour]
      :ok = RateLimiter.add_limiter(:logs, max_keys: 4, windows: [w: log])

      for _ <- 1..100 do
        {:ok, _usage} = RateLimiter.check_and_track(:logs, "one", :w)
        RateLimiter.Test.advance(1)
      end

      assert RateLimiter.stats().limiters.logs.keys == 1
      assert RateLimiter.health_check() == {:degraded, {:full, [:logs]}}
    end
  end
end
