defmodule RateLimiter.HTTP.SerializerTest do
  use ExUnit.Case, async: true

  alias RateLimiter.HTTP.{Policy, Serializer}

  # Two windows of an admitted call.
  @minute %Policy{name: "minute", quota: 100, period: 60, remaining: 40, time: 24, reset: 36}
  @day %Policy{
    name: "day",
    quota: 1_000,
    period: 86_400,
    remaining: 30,
    time: 2_592,
    reset: 83_808
  }

  # A window that is not one of a running limiter.
  @gate %Policy{name: "gate", quota: 5, period: nil, remaining: 0, time: nil, reset: 0, wait: 1}

  test "the format :none has no fields" do
    assert Serializer.fields(:none, [@minute]) == []
  end

  test "the format :draft_11 has a member for each window, without what is unknown" do
    assert Serializer.fields(:draft_11, [@minute, @day, @gate]) == [
             {"ratelimit-policy", ~s("minute";q=100;w=60, "day";q=1000;w=86400, "gate";q=5)},
             {"ratelimit", ~s("minute";r=40;t=24, "day";r=30;t=2592, "gate";r=0)}
           ]
  end

  test "the format :draft_6 has one window, and the policies of all" do
    assert Serializer.fields(:draft_6, [@minute, @day, @gate]) == [
             {"ratelimit-limit", "5"},
             {"ratelimit-remaining", "0"},
             {"ratelimit-reset", "1"},
             {"ratelimit-policy", "100;w=60, 1000;w=86400, 5"}
           ]
  end

  describe "the formats with one window" do
    defp shown(policies) do
      [{_, limit}, {_, remaining}, {_, reset}] =
        Serializer.fields({:x_rate_limit, :delta}, policies)

      {limit, remaining, reset}
    end

    test "have the one with the least left, and the seconds until nothing is in use" do
      assert shown([@minute, @day]) == {"1000", "30", "83808"}
      assert shown([@day, %{@minute | remaining: 29}]) == {"100", "29", "36"}
      # Of two with as much, the first.
      assert shown([%{@minute | remaining: 30}, @day]) == {"100", "30", "36"}
    end

    test "have the one that denies for longest, and the seconds until it admits the call" do
      denied = [%{@minute | wait: 20}, %{@day | wait: 300, remaining: 50}, @minute]
      assert shown(denied) == {"1000", "50", "300"}
    end

    test "have the one that never admits the call, and the seconds until nothing is in use" do
      never = %{@minute | wait: :infinity, remaining: 100, reset: 7}
      assert shown([%{@day | wait: 999_999_999}, never]) == {"100", "100", "7"}
    end

    test "name their fields alike, and count the seconds from now or from 1970" do
      assert [{"x-ratelimit-limit", _}, {"x-ratelimit-remaining", _}, {"x-ratelimit-reset", "36"}] =
               Serializer.fields({:x_rate_limit, :delta}, [@minute])

      for format <- [:x_rate_limit, {:x_rate_limit, :epoch}] do
        before_ms = System.os_time(:millisecond)

        [limit, remaining, {"x-ratelimit-reset", reset}] = Serializer.fields(format, [@minute])

        assert [limit, remaining] == [
                 {"x-ratelimit-limit", "100"},
                 {"x-ratelimit-remaining", "40"}
               ]

        # Rounded up: a client is never too early.
        reset_ms = 1_000 * String.to_integer(reset)
        assert reset_ms >= before_ms + 36_000
        assert reset_ms < System.os_time(:millisecond) + 37_000
      end
    end
  end
end
