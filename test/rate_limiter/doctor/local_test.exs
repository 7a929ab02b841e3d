defmodule RateLimiter.Doctor.LocalTest do
  # Not async: the checks use one name on the node.
  use ExUnit.Case, async: false

  alias RateLimiter.Doctor.Local

  test "a healthy node has a library, is exact under concurrency, and has its speed measured" do
    assert [
             {:ok, "library", library, nil},
             {:ok, "in memory", exact, nil},
             {:ok, "speed", speed, nil}
           ] = Local.check()

    assert library =~ "rate_limiter #{Application.spec(:rate_limiter, :vsn)} is loaded"
    assert library =~ "Elixir #{System.version()}, OTP #{System.otp_release()}"
    assert exact == "1,000 of 2,000 concurrent calls admitted by a limit of 1,000"
    assert speed =~ ~r/\Aa check takes [\d.,]+ us in one process\z/
  end

  test "the checks can be repeated, and leave no instance and no limiter" do
    Local.check()
    Local.check()
    assert RateLimiter.health_check(:rate_limiter_doctor) == {:error, :not_running}

    assert_raise ArgumentError, ~r/^unknown limiter/, fn ->
      RateLimiter.check_and_track(:rate_limiter_doctor, "doctor", :exact)
    end
  end

  test "the checks stop their instance when one of them raises" do
    # A limiter of this name, which an application should not have, makes the start fail.
    start_supervised!(
      {RateLimiter,
       name: :doctor_taken, limiters: [rate_limiter_doctor: [windows: [a: [limit: 1, per: :day]]]]}
    )

    Process.flag(:trap_exit, true)
    assert catch_error(Local.check())
    assert RateLimiter.health_check(:rate_limiter_doctor) == {:error, :not_running}
  end
end
