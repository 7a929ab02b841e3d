defmodule RateLimiter.Store.AnswerTest do
  # Answers of the native library as answers of the API, for every form that they have.
  use ExUnit.Case, async: true

  alias RateLimiter.Store.Answer
  alias RateLimiter.Usage

  @rows [{:a, 10, 4, 30, 50, 0}, {:b, 5, 1, 40, 70, 0}]
  @away {:unavailable, :all, :fallback, 1_000_000}

  describe "usage/4" do
    test "of one window has no map of windows" do
      answer = {:ok, :all, :redis, 500_000, :a, [hd(@rows)], 0, 0}

      assert Answer.usage(answer, :api, :a, 2) == %Usage{
               limiter: :api,
               window: :a,
               max: 10,
               current: 6,
               remaining: 4,
               cost: 2,
               next_after_ms: 30,
               reset_after_ms: 50,
               retry_after_ms: 0,
               source: :redis,
               scale: 0.5,
               windows: %{}
             }
    end

    test "of one local window is the same with and without a list" do
      answer = {:rate_limited, :all, 10, 4, 10, 50, 20, 1_000_000, 0, 0}
      usage = Answer.usage(answer, :api, :a, 7)
      assert %Usage{window: :a, next_after_ms: 10, retry_after_ms: 20, source: :local} = usage
      assert Answer.usage(answer, :api, [:a], 7) == %{usage | windows: %{a: usage}}
    end

    test "of several windows is the binding window's, with each window's own" do
      for windows <- [[], [:a, :b]] do
        usage = Answer.usage({:ok, :all, :local, 1_000_000, :b, @rows, 0, 0}, :api, windows, 1)
        assert %Usage{window: :b, remaining: 1, source: :local, windows: %{a: a, b: b}} = usage
        assert {a.remaining, b.remaining} == {4, 1}
        assert {a.windows, b.windows, a.source} == {%{}, %{}, :local}
      end
    end

    test "of one window in a list has a map of windows" do
      answer = {:ok, :all, :local, 1_000_000, :a, [hd(@rows)], 0, 0}
      assert %Usage{window: :a, windows: %{a: %Usage{}}} = Answer.usage(answer, :api, [:a], 1)
    end

    test "without rows has the maxima of the limiter, and a retry in one second" do
      RateLimiter.Test.start(
        limiters: [answers: [windows: [a: [limit: 10, per: :day], b: [limit: 5, per: :day]]]]
      )

      usage = Answer.usage(@away, :answers, [], 1)
      assert %Usage{window: :a, max: 10, remaining: 0, windows: windows} = usage
      assert {usage.next_after_ms, usage.retry_after_ms} == {1_000, 1_000}
      assert {windows.a.max, windows.b.max} == {10, 5}
      usage = Answer.usage(@away, :answers, :b, 1)
      assert %Usage{window: :b, max: 5, source: :fallback, windows: none} = usage
      assert none == %{}
    end

    test "without rows of a limiter that was removed has no maxima" do
      assert %Usage{window: :a, max: 0} = Answer.usage(@away, :answers_removed, :a, 1)
      assert %Usage{window: nil, max: 0} = Answer.usage(@away, :answers_removed, [], 1)
      assert %Usage{windows: %{b: _}} = Answer.usage(@away, :answers_removed, [:a, :b], 1)
    end
  end

  describe "looked/5" do
    test "returns the verdict of the answer" do
      denied = {:rate_limited, :all, :local, 1_000_000, :a, @rows, 0, 0}
      assert {:error, :rate_limited, %Usage{}} = Answer.looked(denied, :api, [], 1, nil)
      assert {:error, :unavailable, %Usage{}} = Answer.looked(@away, :answers_removed, :a, 1, nil)
    end
  end
end
