defmodule RateLimiter.InstanceTest do
  # The changes and reports of an instance, through the public API.
  use ExUnit.Case, async: true

  alias RateLimiter.Usage

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

  describe "update_limit/3" do
    test "keeps the usage in every algorithm when a limit grows or shrinks" do
      for window <- [:bucket, :slide, :log, :fixed, :own] do
        {:ok, _} = RateLimiter.check_and_track(:api, "u", window, cost: 40)

        assert RateLimiter.update_limit(:api, window, limit: 60) == :ok

        assert {:ok, %Usage{max: 60, current: 40, remaining: 20}} =
                 RateLimiter.get_usage(:api, "u", window)

        assert {:error, :rate_limited, _} =
                 RateLimiter.check_and_track(:api, "u", window, cost: 21)

        assert RateLimiter.update_limit(:api, window, limit: 200) == :ok
        assert {:ok, %Usage{max: 200, current: 40}} = RateLimiter.get_usage(:api, "u", window)
      end
    end

    test "leaves nothing when the new limit is below the usage, and keeps the debt" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :log, cost: 90)
      :ok = RateLimiter.update_limit(:api, :log, limit: 50)
      assert {:ok, %Usage{max: 50, remaining: 0}} = RateLimiter.get_usage(:api, "u", :log)

      assert {:error, :rate_limited, %Usage{retry_after_ms: 60_000}} =
               RateLimiter.check_and_track(:api, "u", :log)

      RateLimiter.Test.advance(60_000)
      assert {:ok, %Usage{remaining: 49}} = RateLimiter.check_and_track(:api, "u", :log)
    end

    test "changes a burst with the limit only if it was not configured" do
      :ok = RateLimiter.update_limit(:api, :bucket, limit: 50)
      assert {:ok, %Usage{max: 50}} = RateLimiter.get_usage(:api, "u", :bucket)
      :ok = RateLimiter.update_limit(:api, :full, limit: 50)
      assert {:ok, %Usage{max: 300}} = RateLimiter.get_usage(:api, "u", :full)
    end

    test "changes only the given options, also in several steps" do
      :ok = RateLimiter.update_limit(:api, :bucket, burst: 7)
      :ok = RateLimiter.update_limit(:api, :bucket, per: {2, :minute})
      :ok = RateLimiter.update_limit(:api, :bucket, limit: 9)

      assert %{limit: 9, per: {2, :minute}, burst: 7, max: 7} =
               RateLimiter.limiters()[:api].windows[:bucket]
    end

    test "accepts a map" do
      assert RateLimiter.update_limit(:api, :bucket, %{limit: 5, burst: 6}) == :ok
      assert {:ok, %Usage{max: 6}} = RateLimiter.get_usage(:api, "u", :bucket)
    end

    test "changes the rate at which a bucket fills" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :bucket, cost: 100)
      :ok = RateLimiter.update_limit(:api, :bucket, per: :minute)

      assert {:error, :rate_limited, %Usage{retry_after_ms: 600}} =
               RateLimiter.check_and_track(:api, "u", :bucket)
    end
  end

  describe "add_limiter/3" do
    test "returns when the limiter can be called" do
      assert RateLimiter.add_limiter(:more, windows: [w: [limit: 3, per: :second]]) == :ok

      assert {:ok, %Usage{limiter: :more, remaining: 2}} =
               RateLimiter.check_and_track(:more, "u", :w)
    end

    test "accepts maps as options" do
      assert RateLimiter.add_limiter(:more, %{windows: %{w: %{limit: 3, per: :second}}}) == :ok
      assert {:ok, %Usage{max: 3}} = RateLimiter.check_and_track(:more, "u", :w)

      options = %{windows: %{w: %{limit: 3, per: :second}}, instance: :missing}

      assert_raise ArgumentError, ~r/^no instance :missing is running/, fn ->
        RateLimiter.add_limiter(:other, options)
      end
    end

    test "raises an error while the instance starts or stops" do
      pid = start_supervised!({RateLimiter, name: :writerless})
      :ok = Supervisor.terminate_child(pid, RateLimiter.Instance.Writer)

      assert_raise ArgumentError,
                   "the instance :writerless is starting or has stopped, and nothing was changed. Try again when it " <>
                     "is running",
                   fn ->
                     RateLimiter.add_limiter(
                       :late,
                       [windows: [w: [limit: 1, per: :day]]],
                       :writerless
                     )
                   end
    end

    test "keeps the counts of thousands of limiters apart" do
      names = for n <- 1..2_000, do: :"many_#{n}"

      for name <- names,
          do:
            :ok =
              RateLimiter.add_limiter(name, max_keys: 10, windows: [w: [limit: 3, per: :second]])

      for name <- names,
          do: {:ok, %Usage{remaining: 2}} = RateLimiter.check_and_track(name, "u", :w)

      for name <- names, do: :ok = RateLimiter.remove_limiter(name)
      assert Keyword.keys(RateLimiter.limiters()) == [:api]
    end
  end

  describe "remove_limiter/1" do
    test "deletes the counts and frees the name" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :bucket, cost: 100)
      assert RateLimiter.remove_limiter(:api) == :ok

      assert_raise ArgumentError, ~r/^unknown limiter :api/, fn ->
        RateLimiter.check_and_track(:api, "u", :bucket)
      end

      :ok = RateLimiter.add_limiter(:api, windows: [bucket: [limit: 5, per: :day]])
      assert {:ok, %Usage{max: 5, remaining: 4}} = RateLimiter.check_and_track(:api, "u", :bucket)
    end
  end

  describe "limiters/1" do
    test "returns each window as configured and with its current maximum" do
      assert RateLimiter.limiters() == [
               api: %{
                 events: :none,
                 max_keys: 1_000,
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
