defmodule RateLimiter.Sensors.TimerTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Sensors.Timer

  doctest Timer

  test "a lateness counts more the busier the schedulers are, never more than in whole" do
    for late <- [0, 1, 80, 1_000.5] do
      own = for busy <- 0..100, do: Timer.own(late, busy / 100)
      assert own == Enum.sort(own)
      assert hd(own) == 0.0
      assert_in_delta List.last(own), late, 1.0e-9
    end
  end

  test "one outlier of many does not count" do
    :rand.seed(:exsss, 9)

    for _ <- 1..100 do
      late = for _ <- 1..100, do: :rand.uniform(10_000)
      assert Timer.worst([1_000_000 | late]) == Enum.max(late)
      assert Timer.worst(Enum.shuffle(late)) == Timer.worst(late)
    end

    assert Timer.worst([7]) == 7
  end

  test "there is no opinion until timers have fired, and the timer ends with its reader" do
    test = self()

    reader =
      spawn(fn ->
        {:no_opinion, reason, {timer, _cell, _times} = state} = Timer.measure(Timer.init([]))
        {:no_opinion, ^reason, _state} = Timer.measure(state)
        send(test, {:timer, timer, reason})
        Process.sleep(:infinity)
      end)

    assert_receive {:timer, timer, "fewer than 100 timers have fired yet"}, 5_000
    ref = Process.monitor(timer)
    Process.exit(reader, :kill)
    assert_receive {:DOWN, ^ref, :process, ^timer, _reason}, 5_000
  end
end
