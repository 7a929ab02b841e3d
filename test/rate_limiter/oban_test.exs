defmodule RateLimiter.ObanTest do
  use ExUnit.Case, async: true

  setup do
    RateLimiter.Test.start(limiters: [login: [windows: [attempts: [limit: 5, per: :hour]]]])
  end

  doctest RateLimiter.Oban

  test "a job that snoozes so long is admitted, and a second earlier is not" do
    {:ok, _} = RateLimiter.check_and_track(:login, 1, :attempts, cost: 5)
    RateLimiter.Test.advance(500)

    {:snooze, seconds} =
      RateLimiter.Oban.snooze(RateLimiter.check_and_track(:login, 1, :attempts))

    RateLimiter.Test.advance((seconds - 1) * 1_000)
    denied = RateLimiter.check_and_track(:login, 1, :attempts)
    # Rounded up: half a second is left, and a job waits for at least one.
    assert RateLimiter.Oban.snooze(denied) == {:snooze, 1}
    RateLimiter.Test.advance(1_000)
    assert {:ok, _} = RateLimiter.check_and_track(:login, 1, :attempts)
  end

  test "takes the other denied answers, and no admitted one" do
    {:ok, _} = RateLimiter.check_and_track(:login, 1, :attempts, cost: 5)
    assert {:snooze, 720} = RateLimiter.Oban.snooze(RateLimiter.await(:login, 1, timeout: 1))

    away = %RateLimiter.Usage{limiter: :gone, window: :w, max: 1, current: 1, remaining: 0}
    away = {:error, :unavailable, %{away | retry_after_ms: 1_000}}
    assert RateLimiter.Oban.snooze(away) == {:snooze, 1}

    admitted = RateLimiter.check_and_track(:login, 2)

    assert_raise ArgumentError, ~r/expected a denied answer/, fn ->
      RateLimiter.Oban.snooze(admitted)
    end
  end
end
