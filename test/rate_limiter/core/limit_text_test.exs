defmodule RateLimiter.Core.LimitTextTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Core.LimitText

  doctest LimitText

  describe "parse/1" do
    test "reads amounts, periods and settings in any order" do
      for {text, expected} <- [
            {"60/min", %{limit: 60, per: :minute, algorithm: :token_bucket, burst: nil}},
            {"60/m", %{per: :minute}},
            {"60/Minute", %{per: :minute}},
            {"5/ms", %{per: {1, :millisecond}}},
            {"5/250ms", %{per: {250, :millisecond}}},
            {"10/10s", %{limit: 10, per: {10, :second}}},
            {"100/5min", %{per: {5, :minute}}},
            {"1/1h", %{per: :hour}},
            {"2/days", %{per: :day}},
            {"10k/d", %{limit: 10_000}},
            {"2M/d", %{limit: 2_000_000}},
            {"1_000/d", %{limit: 1_000}},
            {" 10 / 2 hours : burst=3 ", %{limit: 10, per: {2, :hour}, burst: 3}},
            {"10/s:gcra:burst=20", %{algorithm: :gcra, burst: 20}},
            {"10/s:burst=20:leaky_bucket", %{algorithm: :leaky_bucket, burst: 20}},
            {"10/s:algorithm=sliding_log", %{algorithm: :sliding_log}},
            {"10/s:sub_windows=60:sliding_window", %{sub_windows: 60}},
            {"10/s:sliding_window", %{sub_windows: 10}},
            {"10/s:fixed_window", %{aligned: true}},
            {"10/s:fixed_window:from_first_use", %{aligned: false}},
            {"10/s:aligned:fixed_window", %{aligned: true}}
          ] do
        assert {:ok, limit} = LimitText.parse(text)
        assert Map.take(limit, Map.keys(expected)) == expected, text
      end
    end

    test "returns what was expected and what it got" do
      algorithms = "token_bucket, gcra, leaky_bucket, sliding_window, sliding_log, fixed_window"

      for {text, message} <- [
            {"60", "expected a number per period, such as 60/min, 10/s or 100/5min, got: \"60\""},
            {"", "expected a number per period, such as 60/min, 10/s or 100/5min, got: \"\""},
            {"1/2/3",
             "expected a number per period, such as 60/min, 10/s or 100/5min, got: \"1/2/3\""},
            {"many/min",
             "expected a whole number before the slash, such as 60 or 10k, got: \"many/min\""},
            {"-1/min",
             "expected a whole number before the slash, such as 60 or 10k, got: \"-1/min\""},
            {"1.5/min",
             "expected a whole number before the slash, such as 60 or 10k, got: \"1.5/min\""},
            {"60/fortnight",
             "expected a period after the slash (ms, s, min, h, d, or several such as 5min), got: \"60/fortnight\""},
            {"60/0s",
             "expected a period after the slash (ms, s, min, h, d, or several such as 5min), got: \"60/0s\""},
            {"60/",
             "expected a period after the slash (ms, s, min, h, d, or several such as 5min), got: \"60/\""},
            {"60/s:bursts=2",
             "expected burst=N, sub_windows=N, aligned, from_first_use or an algorithm (#{algorithms}) after the colon, " <>
               "got: \"bursts=2\""},
            {"60/s:burst=two", "expected a whole number for burst, got: \"two\""},
            {"60/s:gcra:fixed_window", "expected each setting once, got two: fixed_window"},
            {"0/s", "limit: expected a positive integer, got: 0"},
            {"60/s:burst=0", "burst: expected a positive integer, got: 0"},
            {"60/s:sliding_log:burst=2",
             "burst: applies to :token_bucket only, but the algorithm is :sliding_log"}
          ] do
        assert LimitText.parse(text) == {:error, "limit #{inspect(text)}: #{message}"}
      end
    end

    test "does not raise for any text" do
      for length <- 0..40, _ <- 1..20 do
        text =
          for _ <- 1..length//1,
              into: "",
              do: <<Enum.random(~c"0159/:=_ kMGsminhdburt\n\0é")::utf8>>

        assert {tag, _} = LimitText.parse(text)
        assert tag in [:ok, :error]
      end
    end
  end

  describe "format/1" do
    test "returns a text that parse/1 reads as the same limit" do
      for text <-
            ~w(60/min 10/s:burst=20 5/ms 100/5min:gcra 9/d:sliding_window:sub_windows=60
                     7/10s:sliding_log 8/h:fixed_window 8/h:fixed_window:from_first_use 1/250ms:leaky_bucket:burst=4) do
        {:ok, limit} = LimitText.parse(text)
        assert LimitText.format(limit) == text
      end
    end

    test "leaves out defaults" do
      for {text, short} <- [
            {"60/1min:token_bucket:burst=60", "60/min"},
            {"60/min:sliding_window:sub_windows=10", "60/min:sliding_window"},
            {"60/min:fixed_window:aligned", "60/min:fixed_window"},
            {"10000/min:burst=5000000", "10k/min:burst=5M"},
            {"12345678/min", "12_345_678/min"},
            {"9223372036854775807/9d:fixed_window", "9_223_372_036_854_775_807/9d:fixed_window"}
          ] do
        {:ok, limit} = LimitText.parse(text)
        assert LimitText.format(limit) == short
      end
    end
  end
end
