defmodule RateLimiter.HTTP.PolicyTest do
  use ExUnit.Case, async: true

  alias RateLimiter.HTTP.Policy
  alias RateLimiter.Usage

  setup do
    RateLimiter.Test.start(
      limiters: [
        bucket: [windows: [w: [limit: 10, per: :minute, burst: 30]]],
        fixed: [windows: [w: [algorithm: :fixed_window, limit: 10, per: :minute]]],
        two: [windows: [z: [limit: 10, per: :second], a: [limit: 90, per: {300, :millisecond}]]]
      ]
    )
  end

  # The usage of a window as an answer has it.
  defp usage(limiter, fields \\ []) do
    usage = %Usage{limiter: limiter, window: :w, max: 10, current: 0, remaining: 10}
    struct!(usage, fields)
  end

  defp policy(usage) do
    [policy] = Policy.all({:ok, usage})
    policy
  end

  describe "all/1" do
    test "has the configured limit, also while it is scaled" do
      assert %Policy{name: "w", quota: 10, period: 60} = policy(usage(:bucket))
      assert %Policy{quota: 10, period: 60} = policy(usage(:bucket, max: 3, scale: 0.1))
    end

    test "has the limit of the plan under which the call was decided" do
      RateLimiter.put_plan(:bucket, :pro, w: [limit: 50])
      assert %Policy{quota: 50, period: 60} = policy(usage(:bucket, plan: :pro))
      plan = [w: [limit: 7, per: :second]]
      assert %Policy{quota: 7, period: 1} = policy(usage(:bucket, plan: plan))
      # One that was removed since.
      assert %Policy{quota: 10} = policy(usage(:bucket, plan: :gone))
    end

    test "has the windows in the order of the limiter" do
      {:ok, usage} = RateLimiter.check_and_track(:two, "u")
      assert [%{name: "z", period: 1}, %{name: "a", period: nil}] = Policy.all({:ok, usage})
      # Those of a limiter that is not running, by name.
      gone = %{usage | limiter: :gone}
      assert [%{name: "a", quota: 90}, %{name: "z", quota: 10}] = Policy.all({:ok, gone})
    end

    test "has whole seconds, rounded up" do
      usage = usage(:bucket, reset_after_ms: 1_001, retry_after_ms: 2_001, remaining: 0)
      assert %Policy{reset: 2, wait: 3, time: 3} = policy(usage)
      usage = usage(:bucket, reset_after_ms: 1_000, retry_after_ms: 2_000, remaining: 0)
      assert %Policy{reset: 1, wait: 2, time: 2} = policy(usage)
    end

    test "has the time over which a client that takes what remains keeps the rate" do
      # Ten per minute.
      for {remaining, scale, time} <- [
            {10, 1.0, 60},
            {9, 1.0, 54},
            {1, 1.0, 6},
            {1, 0.7, 9},
            {10, 2.0, 30},
            # The smallest scale is one part in a million.
            {1, 0.0, 6_000_000}
          ],
          do:
            assert(
              %Policy{remaining: ^remaining, time: ^time} =
                policy(usage(:bucket, remaining: remaining, scale: scale))
            )
    end

    test "has at least the time until one more unit, and a second" do
      usage = usage(:fixed, remaining: 0, next_after_ms: 17_500)
      assert %Policy{remaining: 0, time: 18} = policy(usage)
      assert %Policy{remaining: 2, time: 18} = policy(%{usage | remaining: 2})
      assert %Policy{remaining: 4, time: 24} = policy(%{usage | remaining: 4})
      assert %Policy{time: 1} = policy(%{usage | next_after_ms: 0})
    end

    test "has no more left than the rate allows until a denied call can be repeated" do
      denied = usage(:bucket, remaining: 7, cost: 9, retry_after_ms: 30_000)
      assert %Policy{remaining: 5, time: 30, wait: 30} = policy(denied)
      assert %Policy{remaining: 7, time: 60} = policy(%{denied | retry_after_ms: 60_000})
      assert %Policy{remaining: 2, time: 30} = policy(%{denied | scale: 0.4})
      # A call that is never admitted does not change what others may take.
      assert %Policy{remaining: 7, time: 42, wait: :infinity} =
               policy(%{denied | retry_after_ms: :infinity})
    end

    test "is reduced if the configured limit, with its burst, would have admitted the call" do
      denied = usage(:bucket, current: 20, cost: 10, retry_after_ms: 1, remaining: 0)
      assert policy(denied).reduced?
      refute policy(%{denied | cost: 11}).reduced?
      refute policy(%{denied | retry_after_ms: 0}).reduced?
      fixed = usage(:fixed, current: 4, cost: 6, retry_after_ms: 1, remaining: 0)
      assert policy(fixed).reduced?
      refute policy(%{fixed | cost: 7}).reduced?
      assert policy(%{fixed | cost: 0, retry_after_ms: :infinity}).reduced?
    end

    test "has Integers of Structured Fields" do
      huge = 4_000_000_000_000_000
      usage = usage(:gone, max: huge, remaining: huge)
      assert %Policy{quota: 999_999_999_999_999, remaining: 999_999_999_999_999} = policy(usage)
    end

    test "has ASCII names that differ if the windows do" do
      names =
        for window <- [:w, :"a b", :"a\"b", :"a\\b", :"a%b", :é, :"a\n", :"\d~"],
            do: policy(usage(:gone, window: window)).name

      assert names == ["w", "a b", "a%22b", "a%5Cb", "a%25b", "%C3%A9", "a%0A", "%7F~"]
    end

    test "of a subsystem has what the usage says" do
      usage =
        usage(:s1, window: :rate, retry_after_ms: 1_500, reset_after_ms: 2_500, remaining: 0)

      assert policy(usage) == %Policy{
               name: "rate",
               quota: 10,
               period: nil,
               remaining: 0,
               time: 2,
               reset: 3,
               wait: 2,
               reduced?: false
             }

      assert %Policy{time: nil, wait: 0} = policy(%{usage | retry_after_ms: 0})
      assert %Policy{time: nil, wait: :infinity} = policy(%{usage | retry_after_ms: :infinity})
      for window <- [:gate, :in_flight], do: assert(policy(%{usage | window: window}).reduced?)
    end

    test "takes every answer, and no other term" do
      usage = usage(:bucket)

      for answer <- [{:ok, usage}, {:error, :rate_limited, usage}, {:error, :unavailable, usage}],
          do: assert([_policy] = Policy.all(answer))

      for other <- [:ok, usage, {:ok, nil}, {:error, :unavailable, nil}, {:error, "why", usage}] do
        assert_raise ArgumentError, ~r/^expected an answer of check_and_track, got: /, fn ->
          Policy.all(other)
        end
      end
    end
  end

  test "retry_after/1 is the longest wait, at least a second, or never" do
    retry = fn waits ->
      Policy.retry_after(for wait <- waits, do: %{policy(usage(:gone)) | wait: wait})
    end

    assert retry.([0, 7, 3]) == 7
    assert retry.([0]) == 1
    assert retry.([3, :infinity]) == :infinity
  end
end
