defmodule RateLimiter.Instance.ConfigTest do
  # The messages are part of the contract: each has the path of the option, what was expected, and the value.
  use ExUnit.Case, async: true

  alias RateLimiter.Core.Limit
  alias RateLimiter.Instance.Config

  @window [limit: 100, per: :second]

  defp rejects(message, options),
    do: assert_raise(ArgumentError, message, fn -> Config.new!(options) end)

  defp limiter(message, options), do: rejects("limiters.api" <> message, limiters: [api: options])

  defp window(message, options),
    do: limiter(".windows.burst" <> message, windows: [burst: options])

  describe "new!/1" do
    test "sets the defaults" do
      assert %Config{name: RateLimiter, store: :local, limiters: [], stats_interval: 10_000} =
               Config.new!([])

      assert %Config{limiters: [api: api]} =
               Config.new!(limiters: [api: [windows: [burst: @window]]])

      assert %{events: :all, max_keys: 5_000_000, on_outage: :share, windows: [burst: burst]} =
               api

      assert %Limit{
               algorithm: :token_bucket,
               limit: 100,
               per: :second,
               burst: nil,
               sub_windows: nil,
               aligned: nil
             } = burst
    end

    test "accepts a map in place of a keyword list" do
      assert %Config{limiters: [api: %{windows: [burst: %Limit{limit: 100}]}]} =
               Config.new!(%{limiters: %{api: %{windows: %{burst: %{limit: 100, per: :second}}}}})
    end

    test "rejects an unknown option and suggests the closest known one" do
      rejects("options: unknown option :limters, did you mean :limiters?", limters: [])

      rejects(
        "options: unknown option :color, known options are :name, :store, :limiters, :limits, :vsm, :checkpoint, :shutdown, :log and :stats_interval",
        color: true
      )

      limiter(": unknown option :window, did you mean :windows?",
        window: [],
        windows: [burst: @window]
      )

      limiter(
        ": unknown option :zone, known options are :windows, :plans, :events, :threshold, :max_keys, :top, :ids and :on_outage",
        zone: :eu,
        windows: [burst: @window]
      )

      window(": unknown option :limits, did you mean :limit?", limits: 5, per: :second)
    end

    test "rejects a missing option with what it expects" do
      limiter(".windows: is required, expected a keyword list or a map", [])
      window(".limit: is required, expected a positive integer", per: :second)

      window(
        ".per: is required, expected a period shorter than 9 years: :second, :minute, :hour, :day or {n, unit}",
        limit: 5
      )
    end

    test "rejects a duplicate name" do
      rejects("limiters: :api is given twice",
        limiters: [api: [windows: [burst: @window]], api: [windows: [burst: @window]]]
      )

      limiter(".windows: :burst is given twice", windows: [burst: @window, burst: @window])
      window(": :limit is given twice", limit: 1, limit: 2, per: :second)
    end

    test "rejects nil as a name" do
      limiter(".windows: expected names other than nil, got: [nil: [limit: 100, per: :second]]",
        windows: [{nil, @window}]
      )
    end

    test "rejects a value that is not a list of options" do
      rejects("options: expected a keyword list or a map with atoms as keys, got: :no", :no)

      rejects("limiters: expected a keyword list or a map with atoms as keys, got: [:api]",
        limiters: [:api]
      )

      rejects(
        "limiters: expected a keyword list or a map with atoms as keys, got: %{\"api\" => []}",
        limiters: %{"api" => []}
      )

      limiter(": expected a keyword list or a map with atoms as keys, got: nil", nil)
      limiter(".windows: expected a keyword list or a map with atoms as keys, got: 5", windows: 5)
      window(": expected a keyword list or a map with atoms as keys, got: \"100/s\"", "100/s")
    end

    test "rejects invalid values of an instance's options" do
      rejects(
        "store: expected :local, {:redis, options}, or {module, options} with a module that implements " <>
          "RateLimiter.Store, got: :redis",
        store: :redis
      )

      rejects("stats_interval: expected an integer from 1 to 283824000000 or :infinity, got: 0",
        stats_interval: 0
      )

      rejects(
        "stats_interval: expected an integer from 1 to 283824000000 or :infinity, got: 283824000001",
        stats_interval: 283_824_000_001
      )
    end

    test "rejects invalid values of a limiter's options" do
      limiter(".events: expected one of :all, :denials, :none, got: true",
        events: true,
        windows: [burst: @window]
      )

      limiter(": a limit belongs to a window: windows: [any_name: [limit: 60, per: :minute]]",
        limit: 60,
        per: :minute
      )

      limiter(".on_outage: expected one of :share, :allow, :deny, got: :fail",
        on_outage: :fail,
        windows: [burst: @window]
      )

      windows = [windows: [burst: @window]]
      limiter(".top: expected an integer from 1 to 1000, got: 1001", [top: 1_001] ++ windows)
      limiter(".ids: expected one of :hashed, :keep, got: true", [ids: true, top: 1] ++ windows)

      limiter(
        ".ids: expected top: as well, which says how many ids are kept",
        [ids: :keep] ++ windows
      )

      limiter(".max_keys: expected a positive integer, got: 0",
        max_keys: 0,
        windows: [burst: @window]
      )

      limiter(".windows: expected at least one window", windows: [])

      limiter(".windows: expected at most 32 windows, got: 33",
        windows: for(n <- 1..33, do: {:"w#{n}", @window})
      )

      assert %Config{} =
               Config.new!(limiters: [api: [windows: for(n <- 1..32, do: {:"w#{n}", @window})]])
    end

    test "rejects invalid values of a window's options" do
      for wrong <- ["100", 0, -1, 1.5, nil, :many] do
        window(".limit: expected a positive integer, got: #{inspect(wrong)}",
          limit: wrong,
          per: :second
        )

        window(".burst: expected a positive integer, got: #{inspect(wrong)}",
          limit: 1,
          burst: wrong,
          per: :second
        )
      end

      window(
        ".limit: expected an integer of at most 9223372036854775807, got: 9223372036854775808",
        limit: 2 ** 63,
        per: :second
      )

      window(
        ".algorithm: expected one of :token_bucket, :gcra, :leaky_bucket, :sliding_window, :sliding_log, :fixed_window, got: :bucket",
        [algorithm: :bucket] ++ @window
      )

      window(
        ".sub_windows: expected an integer from 1 to 120, got: 121",
        [algorithm: :sliding_window, sub_windows: 121] ++ @window
      )

      window(
        ".aligned: expected true or false, got: :utc",
        [algorithm: :fixed_window, aligned: :utc] ++ @window
      )

      for wrong <- [
            :seconds,
            :fortnight,
            60,
            {0, :second},
            {-1, :second},
            {1.5, :second},
            {1, :seconds},
            {1, nil},
            "second",
            {10, 365, :day},
            {3_340, :day}
          ] do
        window(
          ".per: expected a period shorter than 9 years: :second, :minute, :hour, :day or {n, unit}, got: #{inspect(wrong)}",
          limit: 1,
          per: wrong
        )
      end
    end

    test "rejects an option of another algorithm, which would have no effect" do
      window(
        ".burst: applies to :token_bucket only, but the algorithm is :fixed_window",
        [algorithm: :fixed_window, burst: 5] ++ @window
      )

      window(
        ".burst: applies to :token_bucket only, but the algorithm is :sliding_window",
        [algorithm: :sliding_window, burst: 5] ++ @window
      )

      window(
        ".sub_windows: applies to :sliding_window only, but the algorithm is :gcra",
        [algorithm: :gcra, sub_windows: 5] ++ @window
      )

      window(
        ".aligned: applies to :fixed_window only, but the algorithm is :sliding_log",
        [algorithm: :sliding_log, aligned: false] ++ @window
      )
    end

    test "rejects a limit that the arithmetic cannot represent, with the reason" do
      window(".limit: expected at most 10000 for this algorithm, got: 10001",
        algorithm: :sliding_log,
        limit: 10_001,
        per: :second
      )

      assert_raise ArgumentError,
                   ~r/^limiters\.api\.windows\.burst\.limit: 9223372036854775807 per 1000000 ns is more than/,
                   fn ->
                     Config.new!(
                       limiters: [
                         api: [windows: [burst: [limit: 2 ** 63 - 1, per: {1, :millisecond}]]]
                       ]
                     )
                   end

      assert_raise ArgumentError,
                   ~r/^limiters\.api\.windows\.burst\.burst: expected at most 53375 at this rate, got: 1000000000$/,
                   fn ->
                     Config.new!(
                       limiters: [
                         api: [windows: [burst: [limit: 1, burst: 1_000_000_000, per: :day]]]
                       ]
                     )
                   end

      assert_raise ArgumentError,
                   ~r/^limiters\.api\.windows\.burst\.limit: expected at most \d+ for this algorithm, got: #{2 ** 40}/,
                   fn ->
                     Config.new!(
                       limiters: [
                         api: [
                           windows: [
                             burst: [algorithm: :sliding_window, limit: 2 ** 40, per: :day]
                           ]
                         ]
                       ]
                     )
                   end
    end

    test "accepts the greatest limits that the arithmetic can represent" do
      for {algorithm, limit, per} <- [
            {:token_bucket, 1, :day},
            {:token_bucket, 1, {3_330, :day}},
            {:token_bucket, 1_000_000_001, :second},
            {:token_bucket, 8_000_000_000_000, {1, :millisecond}},
            {:sliding_log, 10_000, :second},
            {:sliding_window, 4_000_000_000, :day},
            {:fixed_window, 1, {1, :millisecond}}
          ] do
        assert %Config{} =
                 Config.new!(
                   limiters: [api: [windows: [w: [algorithm: algorithm, limit: limit, per: per]]]]
                 )
      end
    end
  end

  describe "limiter!/2" do
    test "rejects a name that is nil or not an atom" do
      for wrong <- [nil, "api", 5] do
        assert_raise ArgumentError,
                     "limiters: expected an atom other than nil as a name, got: #{inspect(wrong)}",
                     fn ->
                       RateLimiter.add_limiter(wrong, windows: [w: @window])
                     end
      end
    end

    test "shows any atom in the path" do
      assert_raise ArgumentError,
                   "limiters.MyApp.Api.windows.\"odd name\".limit: expected a positive integer, got: 0",
                   fn ->
                     Config.new!(
                       limiters: [{MyApp.Api, [windows: ["odd name": [limit: 0, per: :second]]]}]
                     )
                   end
    end
  end

  describe "docs/0" do
    test "lists every option with its default" do
      docs = Config.docs()
      assert docs =~ "* `:name` - the name of the instance, any term. Default: `RateLimiter`."
      assert docs =~ "\n  * `:windows` - the limits that are decided together"
      assert docs =~ "\n    * `:sub_windows` - "
      for key <- Keyword.keys(Limit.schema()), do: assert(docs =~ "* `#{inspect(key)}` - ")
      assert docs =~ "Only for `:fixed_window`. Default: `true`."
    end
  end
end
