defmodule RateLimiter.Doctor.Local do
  @moduledoc false
  # The checks of this node: the native library, exactness and speed in memory.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Doctor

  @limiter :rate_limiter_doctor
  @processes 8
  @calls_each 250
  @limit 1_000
  @timed 20_000

  @spec check() :: [Doctor.finding(), ...]
  def check do
    windows = [exact: [limit: @limit, per: :hour], fast: [limit: 1_000_000, per: :second]]
    limiters = [{@limiter, windows: windows, events: :none}]
    options = [name: @limiter, limiters: limiters, stats_interval: :infinity]
    {:ok, instance} = RateLimiter.start_link(options)

    try do
      [library(), exactness(), speed()]
    after
      Supervisor.stop(instance)
    end
  end

  defp library do
    version = Application.spec(:rate_limiter, :vsn)
    schedulers = Numbers.count(System.schedulers_online(), "scheduler")

    {:ok, "library",
     "rate_limiter #{version} is loaded; Elixir #{System.version()}, OTP #{System.otp_release()}, #{schedulers}",
     nil}
  end

  defp exactness do
    admitted =
      1..@processes
      |> Task.async_stream(fn _ -> admitted(@calls_each) end, timeout: :infinity)
      |> Enum.map(fn {:ok, count} -> count end)
      |> Enum.sum()

    result =
      "#{Numbers.number(admitted)} of #{Numbers.number(@processes * @calls_each)} concurrent calls admitted by a " <>
        "limit of #{Numbers.number(@limit)}"

    if admitted == @limit,
      do: {:ok, "in memory", result, nil},
      else: {:failure, "in memory", result, "this is a defect of the library: please report it"}
  end

  defp admitted(calls) do
    Enum.count(1..calls, fn _ ->
      match?({:ok, _}, RateLimiter.check_and_track(@limiter, "doctor", :exact))
    end)
  end

  defp speed do
    check = fn -> RateLimiter.check_and_track(@limiter, "doctor", :fast) end
    for _ <- 1..@timed, do: check.()
    {us, _answers} = :timer.tc(fn -> for _ <- 1..@timed, do: check.() end)

    {:ok, "speed", "a check takes #{Numbers.number(us / @timed)} us in one process", nil}
  end
end
