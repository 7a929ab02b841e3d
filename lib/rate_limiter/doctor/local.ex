defmodule RateLimiter.Doctor.Local do
  @moduledoc false
  # What this node does by itself: the native library, that it counts exactly, and how fast.

  alias RateLimiter.Doctor
  alias RateLimiter.Core.Numbers

  @limiter :rate_limiter_doctor
  @processes 8
  @each 250
  @limit 1_000
  @timed 20_000

  @spec examine() :: [Doctor.finding(), ...]
  def examine do
    windows = [exact: [limit: @limit, per: :hour], fast: [limit: 1_000_000, per: :second]]
    limiters = [{@limiter, windows: windows, events: :none}]
    options = [name: @limiter, limiters: limiters, stats_interval: :infinity]
    {:ok, instance} = RateLimiter.start_link(options)

    try do
      [library(), exact(), fast()]
    after
      Supervisor.stop(instance)
    end
  end

  defp library do
    otp = System.otp_release()
    schedulers = Numbers.count(System.schedulers_online(), "scheduler")
    version = Application.spec(:rate_limiter, :vsn)

    {:ok, "library",
     "rate_limiter #{version} is loaded; Elixir #{System.version()}, OTP #{otp}, #{schedulers}",
     nil}
  end

  defp exact do
    admitted =
      1..@processes
      |> Task.async_stream(fn _ -> admitted(@each) end, timeout: :infinity)
      |> Enum.map(fn {:ok, count} -> count end)
      |> Enum.sum()

    said =
      "#{Numbers.number(admitted)} of #{Numbers.number(@processes * @each)} calls of #{@processes} processes admitted, of " <>
        "#{Numbers.number(@limit)} that are allowed"

    if admitted == @limit,
      do: {:ok, "in memory", said, nil},
      else: {:failure, "in memory", said, "this is a defect of the library: please report it"}
  end

  defp admitted(calls) do
    Enum.count(1..calls, fn _ ->
      match?({:ok, _}, RateLimiter.check_and_track(@limiter, "doctor", :exact))
    end)
  end

  defp fast do
    check = fn -> RateLimiter.check_and_track(@limiter, "doctor", :fast) end
    for _ <- 1..@timed, do: check.()
    {us, _answers} = :timer.tc(fn -> for _ <- 1..@timed, do: check.() end)

    {:ok, "its speed", "#{Float.round(us / @timed, 2)} us a check, one process after the other",
     nil}
  end
end
