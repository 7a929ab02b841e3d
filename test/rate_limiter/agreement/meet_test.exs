defmodule RateLimiter.Agreement.MeetTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Observation
  alias RateLimiter.Agreement.{Heartbeat, Meet}

  @meet %Meet{
    interval: 1,
    keep_ms: 2,
    node: "n",
    heartbeat: %Heartbeat{node: "n", group: "g", scale: 1.0},
    epoch: 3,
    observation: %Observation{elapsed_ms: 4}
  }

  test "the arguments stand in the order that meet.lua reads" do
    assert [now, interval, keep, node, heartbeat, epoch, urgent, elapsed, away | counts] =
             Meet.to_argv(%{@meet | now_ms: 9, away: 5})

    assert {now, interval, keep, node, epoch} == {"9", "1", "2", "n", "3"}
    assert {elapsed, away} == {"4", "5"}
    assert Heartbeat.read(heartbeat) == {:ok, @meet.heartbeat}
    assert urgent == ""
    assert rem(length(counts), 2) == 0
  end

  test "without a test's clock the server's own time counts" do
    assert hd(Meet.to_argv(@meet)) == "0"
  end

  test "an urgent meeting says so" do
    assert Enum.at(Meet.to_argv(%{@meet | urgent?: true}), 6) == "urgent"
  end

  test "counters are names and whole numbers in turn" do
    argv = Meet.to_argv(%{@meet | observation: %Observation{elapsed_ms: 4, asked: 12, denied: 5}})

    pairs = argv |> Enum.drop(9) |> Enum.chunk_every(2)
    for [name, count] <- pairs, do: assert(name != "" and count == "#{String.to_integer(count)}")
    counts = Enum.map(pairs, &List.last/1)
    assert "12" in counts and "5" in counts
    names = Enum.map(pairs, &hd/1)
    assert names == Enum.uniq(names)
  end
end
