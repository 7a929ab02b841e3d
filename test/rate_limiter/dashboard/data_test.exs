defmodule RateLimiter.Dashboard.DataTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Json, only: [decode!: 1]
  import RateLimiter.Support.Viewed

  alias RateLimiter.Dashboard.Data

  @shown "<script>hacked=1</script>\"'&\\u{202E}"

  test "a view is JSON, with hostile names as strings" do
    assert %{"node" => "shop@<b>db1</b>", "at" => "2026-01-02T03:04:05Z", "problem" => nil} =
             json = decode!(Data.render({:ok, view()}))

    assert [%{"ids" => 12_345, "calls_per_second" => 1_200, "limiters_left_out" => 7} = instance] =
             json["instances"]

    assert %{"nodes" => 3, "problem" => @shown, "servers" => [server]} = instance["redis"]
    assert %{"server" => @shown, "breaker" => "opened", "round_trip_us" => nil} = server

    assert [%{"name" => @shown, "checks" => 100, "denials" => 30} = limiter] =
             instance["limiters"]

    assert [%{"name" => @shown, "limit" => "10/s", "max" => 20, "denials" => 30} = window] =
             limiter["windows"]

    assert window["callers"] == [%{"id" => @shown, "calls" => 81, "denied" => 17}]

    # A point that is not known is left out.
    assert limiter["history"] == [
             %{"seconds_ago" => 8.0, "admitted_per_second" => 100, "denied_per_second" => 0},
             %{"seconds_ago" => 6.0, "admitted_per_second" => 300, "denied_per_second" => 100},
             %{"seconds_ago" => 2.0, "admitted_per_second" => 900, "denied_per_second" => 300},
             %{"seconds_ago" => 0.0, "admitted_per_second" => 500, "denied_per_second" => 100}
           ]

    assert [%{"name" => @shown, "stress" => 0.7, "guard" => 7, "reasons" => [@shown | _]}] =
             instance["subsystems"]

    assert instance["sensors"] == [%{"name" => @shown, "value" => 0.5, "stress" => 0.0}]
  end

  test "what is not known is null" do
    %{instances: [instance]} = view = view()
    instance = %{instance | health: :ok, rates: nil, redis: nil, subsystems: [], sensors: %{}}
    [shown] = decode!(Data.render({:ok, %{view | instances: [instance]}}))["instances"]

    assert %{"health" => "ok", "calls_per_second" => nil, "redis" => nil, "subsystems" => []} =
             shown
  end

  test "a problem is an object with the problem" do
    assert decode!(Data.render({:error, "no \"reply\""})) == %{"problem" => "no \"reply\""}
  end
end
