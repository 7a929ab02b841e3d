defmodule RateLimiter.ConfigTest do
  # Every wrong option fails with its path, what was expected and what came.
  use ExUnit.Case, async: true

  alias RateLimiter.Config
  alias RateLimiter.Core.Limit

  @window [limit: 100, per: :second]

  defp says(message, options),
    do: assert_raise(ArgumentError, message, fn -> Config.new!(options) end)

  defp limiter(message, options), do: says("limiters.api" <> message, limiters: [api: options])

  defp window(message, options),
    do: limiter(".windows.burst" <> message, windows: [burst: options])

  describe "new!/1" do
    test "fills in the defaults" do
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

    test "takes maps wherever it takes keyword lists" do
      assert %Config{limiters: [api: %{windows: [burst: %Limit{limit: 100}]}]} =
               Config.new!(%{limiters: %{api: %{windows: %{burst: %{limit: 100, per: :second}}}}})
    end

    test "names an option that is not known, and the one that was probably meant" do
      says("options: unknown option :limters, did you mean :limiters?", limters: [])

      says(
        "options: unknown option :color; known are :name, :store, :limiters, :vsm and :stats_interval",
        color: true
      )

      limiter(": unknown option :window, did you mean :windows?",
        window: [],
        windows: [burst: @window]
      )

      limiter(": unknown option :zone; known are :windows, :events, :max_keys and :on_outage",
        zone: :eu,
        windows: [burst: @window]
      )

      window(": unknown option :limits, did you mean :limit?", limits: 5, per: :second)
    end

    test "names an option that is missing" do
      limiter(".windows: is required: a keyword list or a map", [])
      window(".limit: is required: a positive integer", per: :second)

      window(
        ".per: is required: a period shorter than 9 years: :second, :minute, :hour, :day or {n, unit}",
        limit: 5
      )
    end

    test "names an option that comes twice" do
      says("limiters: :api is given twice",
        limiters: [api: [windows: [burst: @window]], api: [windows: [burst: @window]]]
      )

      limiter(".windows: :burst is given twice", windows: [burst: @window, burst: @window])
      window(": :limit is given twice", limit: 1, limit: 2, per: :second)
    end

    test "takes no nil for a name" do
      limiter(".windows: expected names other than nil, got: [nil: [limit: 100, per: :second]]",
        windows: [{nil, @window}]
      )
    end

    test "refuses what is no list of options" do
      says("options: expected a keyword list or a map with atoms as keys, got: :no", :no)

      says("limiters: expected a keyword list or a map with atoms as keys, got: [:api]",
        limiters: [:api]
      )

      says("limiters: expected a keyword list or a map with atoms as keys, got: %{\"api\" => []}",
        limiters: %{"api" => []}
      )

      limiter(": expected a keyword list or a map with atoms as keys, got: nil", nil)
      limiter(".windows: expected a keyword list or a map with atoms as keys, got: 5", windows: 5)
      window(": expected a keyword list or a map with atoms as keys, got: \"100/s\"", "100/s")
    end

    test "refuses an instance's options of another kind" do
      says("store: expected :local or {:redis, options}, got: :redis", store: :redis)

      says("stats_interval: expected a positive integer or :infinity, got: 0",
        stats_interval: 0
      )

      says(
        "stats_interval: expected at most 283824000000 milliseconds, which are nine years or :infinity, got: 283824000001",
        stats_interval: 283_824_000_001
      )
    end

    test "refuses a limiter's options of another kind" do
      limiter(".events: expected one of :all, :denials, :none, got: true",
        events: true,
        windows: [burst: @window]
      )

      limiter(".on_outage: expected one of :share, :allow, :deny, got: :fail",
        on_outage: :fail,
        windows: [burst: @window]
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

    test "refuses a window's options of another kind" do
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

    test "refuses an option of another algorithm, which would do nothing" do
      window(
        ".burst: is only for :token_bucket, this window is :fixed_window",
        [algorithm: :fixed_window, burst: 5] ++ @window
      )

      window(
        ".burst: is only for :token_bucket, this window is :sliding_window",
        [algorithm: :sliding_window, burst: 5] ++ @window
      )

      window(
        ".sub_windows: is only for :sliding_window, this window is :gcra",
        [algorithm: :gcra, sub_windows: 5] ++ @window
      )

      window(
        ".aligned: is only for :fixed_window, this window is :sliding_log",
        [algorithm: :sliding_log, aligned: false] ++ @window
      )
    end

    test "refuses a limit that cannot be kept, and says why" do
      window(".limit: expected at most 10000 for :sliding_log, got: 10001",
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

    test "takes the extremes that can be kept" do
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
    test "needs a name that can be one" do
      for wrong <- [nil, "api", 5] do
        assert_raise ArgumentError,
                     "limiters: expected an atom other than nil as a name, got: #{inspect(wrong)}",
                     fn ->
                       RateLimiter.add_limiter(wrong, windows: [w: @window])
                     end
      end
    end

    test "shows names of every kind of atom" do
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
    test "names every option that there is, with its default" do
      docs = Config.docs()
      assert docs =~ "* `:name` - the instance's name, any term. Default: `RateLimiter`."
      assert docs =~ "\n  * `:windows` - the limits that count together"
      assert docs =~ "\n    * `:sub_windows` - "
      for key <- Keyword.keys(Limit.schema(:new)), do: assert(docs =~ "* `#{inspect(key)}` - ")
      assert docs =~ "Only for `:fixed_window`. Default: `true`."
    end
  end
end
