defmodule RateLimiter.Limits.ReportTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Instance.Config
  alias RateLimiter.Limits.Report

  test "admits/1 has what each window admits at once and in any period" do
    windows = [
      bucket: [limit: 100, per: :second, burst: 200],
      slide: [algorithm: :sliding_window, limit: 1_000, per: :minute],
      log: [algorithm: :sliding_log, limit: 7, per: :hour],
      fixed: [algorithm: :fixed_window, limit: 50_000, per: :day]
    ]

    assert Report.admits(api: Config.limiter!([windows: windows], [])) == [
             "limiter  window  limit                    at once  in any period",
             "api      bucket  100/s:burst=200          200      300",
             "api      slide   1000/min:sliding_window  1,000    1,000",
             "api      log     7/h:sliding_log          7        7",
             "api      fixed   50k/d:fixed_window       50,000   100,000"
           ]
  end

  test "admits/1 shows the truth: a full bucket admits its burst and its limit within a period" do
    RateLimiter.Test.start(
      limiters: [api: [windows: [bucket: [limit: 10, per: :second, burst: 20]]]]
    )

    admitted = for _ <- 1..20, RateLimiter.allow?(:api, "u"), do: 1

    later =
      for _ <- 1..10 do
        RateLimiter.Test.advance(100)
        RateLimiter.allow?(:api, "u")
      end

    assert length(admitted) + Enum.count(later, & &1) == 30

    [_header, row] =
      Report.admits(
        api: Config.limiter!([windows: [bucket: [limit: 10, per: :second, burst: 20]]], [])
      )

    assert row =~ ~r/20 +30$/
  end

  test "diff/1 has a line for each entry" do
    assert Report.diff([]) == ["nothing changes"]

    assert Report.diff([
             {:added, [:mail], %{}},
             {:changed, [:api, :burst, :per], :minute, {2, :minute}}
           ]) ==
             ["mail: is added", "api.burst.per: :minute -> {2, :minute}"]
  end
end
