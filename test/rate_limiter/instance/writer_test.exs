defmodule RateLimiter.Instance.WriterTest do
  # Changes of a running instance, through the public API.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Core.Limit
  alias RateLimiter.Instance.{Config, Registry}
  alias RateLimiter.{Store, Usage}

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
                   "no instance :writerless is running on this node: it is starting, restarting or has stopped, and the " <>
                     "change may not have been made. Try again when it is running",
                   fn ->
                     RateLimiter.add_limiter(
                       :late,
                       [windows: [w: [limit: 1, per: :day]]],
                       :writerless
                     )
                   end
    end

    test "undoes a change that a kill of the writer has interrupted" do
      supervisor =
        start_supervised!(
          {RateLimiter, name: :halves, limiters: [whole: [windows: [w: [limit: 5, per: :day]]]]}
        )

      {:ok, _} = RateLimiter.check_and_track(:whole, "u", :w, cost: 2)
      %{table: table} = Registry.instance(:halves)

      # A limiter that has a row and no name yet, and a limit that is in force and not yet in the row.
      config = Config.limiter!([windows: [w: [limit: 1, per: :day]]], [])
      {:ok, handle, owner} = Store.new_limiter(config, :monotonic)
      :ets.insert(table, {:half, handle, owner, config})
      limit = Limit.new!([limit: 9, per: :day], [])
      :ok = Store.update_limits(Store.handle(:whole), w: limit)
      assert {:ok, %Usage{max: 9}} = RateLimiter.get_usage(:whole, "u", :w)

      writer = Registry.whereis({:writer, table})
      Process.exit(writer, :kill)
      eventually(fn -> Registry.whereis({:writer, table}) not in [nil, writer] end)
      _started = :sys.get_state(Registry.via({:writer, table}), :infinity)

      assert {:ok, %Usage{max: 5, current: 2}} = RateLimiter.get_usage(:whole, "u", :w)
      assert [:whole] = :halves |> RateLimiter.limiters() |> Keyword.keys()
      assert RateLimiter.add_limiter(:half, [windows: [w: [limit: 1, per: :day]]], :halves) == :ok
      assert Process.alive?(supervisor)
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
end
