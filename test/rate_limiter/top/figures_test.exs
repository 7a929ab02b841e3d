defmodule RateLimiter.Top.FiguresTest do
  # Not async: a snapshot reads the whole node.
  use ExUnit.Case, async: false

  alias RateLimiter.Top.{Figures, Snapshot}

  setup do: RateLimiter.Support.Shown.start()

  defp shown(now, before) do
    [instance] = for %{name: ":top_shown"} = shown <- Figures.instances(now, before), do: shown
    instance
  end

  test "rates are counts per second since the earlier snapshot, of limiters and of all together" do
    before = Snapshot.take()
    for _ <- 1..10, do: RateLimiter.check_and_track(:top_shown, "a", :burst)
    now = %{Snapshot.take() | at_ms: before.at_ms + 500}

    assert %{rates: %{calls: 20, denied: 14}, limiters: [limiter]} = shown(now, before)
    assert limiter.rates == %{calls: 20, denied: 14}
  end

  test "without an earlier snapshot there are no rates, after a restart they are not negative" do
    now = Snapshot.take()
    assert %{rates: nil, limiters: [%{rates: nil}]} = shown(now, %{now | instances: []})
    for _ <- 1..10, do: RateLimiter.check_and_track(:top_shown, "a", :burst)
    assert %{rates: %{calls: 0, denied: 0}} = shown(now, Snapshot.take())
  end

  test "a subsystem's denials are those of its limit and of its guard" do
    now = Snapshot.take()
    [%{subsystems: [work | _]} = instance] = for %{name: ":top_shown"} = i <- now.instances, do: i
    later = %{work | asked: 100, denied: 20, guarded: 5, shed: 7}
    later = %{now | at_ms: now.at_ms + 1_000, instances: [%{instance | subsystems: [later]}]}
    assert [%{rates: rates}] = shown(later, now).subsystems
    assert rates == %{calls: 100, denied: 25, shed: 7}
  end

  test "Redis has the rates of its client" do
    now = Snapshot.take()
    [instance] = for %{name: ":top_shown"} = instance <- now.instances, do: instance

    at = fn count, ms ->
      redis = %{calls: count, batches: count, timeouts: 0, refused: 0, nodes: 2, servers: []}
      %{now | at_ms: ms, instances: [%{instance | redis: redis}]}
    end

    assert %{redis: %{nodes: 2, rates: rates}} = shown(at.(30, 2_000), at.(10, 0))
    assert rates == %{calls: 10, batches: 10, timeouts: 0, refused: 0}
    assert %{redis: %{rates: nil}} = shown(at.(30, 2_000), now)
  end

  test "what is not known is a dash" do
    assert Figures.rate(nil, :calls) == "-"
    assert Figures.rate(%{calls: 12_345}, :calls) == "12,345"
    assert Figures.at_work(%{in_flight: 3, guard: :infinity}) == "3"
    assert Figures.at_work(%{in_flight: 3, guard: 7}) == "3 of 7"
    assert Figures.sensor({:pool, %{value: nil, no_opinion: "gone"}}) == "pool no opinion"
    assert Figures.sensor({:timer, %{value: 1.5, no_opinion: nil}}) == "timer 1.5 ms"
  end

  test "sizes are in KB below a megabyte, and in MB from there" do
    assert Figures.bytes(1_048_575) == "1023 KB"
    assert Figures.bytes(1_048_576) == "1 MB"
  end

  test "a breaker is named in words" do
    assert for(state <- [:closed, :half_open, :opened], do: Figures.breaker(state)) == [
             "closed",
             "half open",
             "open"
           ]
  end
end
