defmodule RateLimiter.Adaptive.ClosedLoopTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.{ClosedLoop, Observation, Work}

  # A second of calls with this duration.
  defp second(ms, options \\ []) do
    count = Keyword.get(options, :count, 80)
    failing = Keyword.get(options, :failing, 0)

    work = Enum.reduce(1..count, %Work{}, fn _, work -> Work.record(work, :ok, ms * 1_000) end)

    work = Enum.reduce(List.duplicate(:timeout, failing), work, &Work.record(&2, &1, 1_000_000))

    struct!(
      %Observation{
        limit: 100.0,
        fresh: work,
        asked: count + failing + 20,
        denied: 20,
        in_flight: 10
      },
      Keyword.drop(options, [:count, :failing])
    )
  end

  defp run(observations, options \\ []) do
    {decisions, {state, _now}} =
      Enum.map_reduce(observations, {ClosedLoop.new(options), 0}, fn observation, {state, now} ->
        {state, decision} = ClosedLoop.step(state, observation, now + 1_000)
        {decision, {state, now + 1_000}}
      end)

    {decisions, state}
  end

  defp repeat(observation, times), do: List.duplicate(observation, times)

  describe "new/1" do
    test "raises for unknown options and invalid values" do
      for {options, message} <- [
            {[ceilling: 2], "law: unknown option :ceilling, did you mean :ceiling?"},
            {[floor: 0], "law.floor: expected a positive number, got: 0"},
            {[floor: 0.9, ceiling: 0.5], "law.floor: expected at most the ceiling, 0.5, got: 0.9"}
          ] do
        assert_raise ArgumentError, message, fn -> ClosedLoop.new(options) end
      end
    end

    test "keeps a given scale between floor and ceiling" do
      assert ClosedLoop.new(scale: 0.05, floor: 0.2).scale == 0.2
      assert ClosedLoop.new(scale: 0.5).scale == 0.5
    end
  end

  describe "cut" do
    test "a standing queue is cut after a second window has confirmed it" do
      {decisions, _} = run(repeat(second(20), 5) ++ repeat(second(300), 2))
      [confirming, cut] = Enum.take(decisions, -2)
      assert {confirming.action, confirming.held_by} == {:hold, :confirming}
      assert {cut.action, cut.binding, cut.stress} == {:cut, :queue, 1.0}
      # Not below the proven rate: 80 calls per second of a limit of 100.
      assert cut.scale == 0.8

      assert cut.sentence ==
               "The fastest quarter of calls takes up to 297.0 ms, usually 20.1 ms (a standing queue, stress 1.0): the scale " <>
                 "is cut from 1.0 to 0.8. Recently 80.0 calls per second were answered well."
    end

    test "many failures are cut without confirmation" do
      {decisions, _} = run(repeat(second(20), 3) ++ [second(20, count: 30, failing: 70)])
      assert %{action: :cut, binding: :errors} = List.last(decisions)
    end

    test "work from before the last cut is ignored if most of it failed" do
      begun_before = %{second(20, count: 40) | earlier: second(1, count: 1, failing: 60).fresh}
      {decisions, _} = run(repeat(second(20), 3) ++ [begun_before])
      assert List.last(decisions).stress == 0.0
    end

    test "the next cut waits for the effect of the last one" do
      {decisions, _} = run(repeat(second(20), 3) ++ repeat(second(300, count: 20), 5))
      actions = Enum.map(decisions, & &1.action)
      assert Enum.count(actions, &(&1 == :cut)) == 2
      assert Enum.any?(decisions, &(&1.held_by == :confirming))
    end
  end

  describe "a deep fall" do
    # A second in which all calls fail.
    defp failed(count), do: %{second(20, count: 1, failing: count) | fresh: failures(count)}

    defp failures(count),
      do: Enum.reduce(1..count, %Work{}, fn _, work -> Work.record(work, :timeout, 1_000_000) end)

    test "is cut once a second while no call is answered, with few calls, too" do
      {decisions, _} = run(repeat(second(20), 5) ++ repeat(failed(6), 9))
      cuts = for %{action: :cut} = decision <- decisions, do: decision.scale / decision.from
      assert length(cuts) >= 6
      for share <- cuts, do: assert(share >= 0.7 - 1.0e-9)
      assert List.last(decisions).scale <= 0.11
    end

    test "is not assumed for one failure among a few calls" do
      one = second(20, count: 14, failing: 1, denied: 0, asked: 15)
      {decisions, _} = run(repeat(second(20), 5) ++ repeat(one, 5))
      for decision <- decisions, do: assert(decision.stress == 0.0)
    end

    test "ends with fast growth if the stress ends at the floor" do
      {decisions, _} =
        run(repeat(second(20), 5) ++ repeat(failed(20), 12) ++ repeat(second(20), 9))

      scales = Enum.map(decisions, & &1.scale)
      assert Enum.min(scales) == 0.1
      assert List.last(scales) == 1.0
    end

    test "with slow calls at the floor is taken for the usual latency, and growth finds the capacity" do
      slow = second(300, count: 20, denied: 20, asked: 40, in_flight: 4)
      {decisions, _} = run(repeat(second(20), 5) ++ repeat(failed(20), 12) ++ repeat(slow, 12))
      assert audit = Enum.find(decisions, &(&1.action == :audit))
      assert audit.scale == 0.1
      assert List.last(decisions).scale > 0.2
    end
  end

  describe "audit" do
    test "latency that rose without denied calls or a queue is explained as load-insensitive and not cut" do
      slow = second(420, denied: 0, asked: 80)
      {decisions, state} = run(repeat(second(20, denied: 0, asked: 80), 5) ++ repeat(slow, 6))

      refute Enum.any?(decisions, &(&1.action == :cut))
      assert Enum.any?(decisions, &(&1.held_by == :not_load))
      audit = Enum.find(decisions, &(&1.action == :audit))
      assert audit.scale == 1.0
      assert audit.sentence =~ "load-insensitive"
      assert List.last(decisions).stress == 0.0
      assert_in_delta state.estimates.base.p25, 420, 10
    end

    test "latency that rises with a slowly growing number of calls in flight is load" do
      # In each second a tenth more than finished, which chance explains. In three seconds it does not.
      slow =
        for n <- 0..3, do: second(420, denied: 0, asked: 88, count: 80, in_flight: 60 + 10 * n)

      {decisions, _} = run(repeat(second(20, denied: 0, asked: 80), 5) ++ slow)
      refute Enum.any?(decisions, &(&1.action == :audit))
      assert %{action: :cut, binding: :queue} = List.last(decisions)
    end

    test "failures that stay although fewer calls are admitted count as usual, and the cut is taken back" do
      # One call in ten fails, however few there are.
      failing = fn count ->
        second(20, count: count, failing: div(count, 9), asked: count + div(count, 9) + 20)
      end

      loads =
        for count <- [80, 80, 80, 72, 72, 60, 60, 54, 54, 45, 45, 45, 36, 36], do: failing.(count)

      {decisions, _} = run(repeat(second(20), 3) ++ loads)

      audit = Enum.find(decisions, &(&1.action == :audit))
      assert audit.sentence =~ "the failures do not come from load"
      assert audit.scale >= 0.9 * 0.99
    end

    test "a source that reports pain although the work goes well is ignored until it stops" do
      liar = %{second(20) | pain: %{liar: 1.0}}
      {decisions, state} = run(repeat(second(20), 3) ++ repeat(liar, 10))

      audit = Enum.find(decisions, &(&1.action == :audit))
      assert audit.escalate?
      assert audit.binding == {:pain, :liar}
      assert audit.sentence =~ ":liar still reports pain 1.0"
      assert List.last(decisions).scale >= 0.9

      # Another source counts.
      {_, decision} =
        ClosedLoop.step(state, %{second(20) | pain: %{liar: 1.0, other: 0.95}}, 60_000)

      assert {decision.action, decision.binding} == {:cut, {:pain, :other}}

      {state, _} = ClosedLoop.step(state, second(20), 61_000)
      {_, decision} = ClosedLoop.step(state, liar, 63_000)
      assert {decision.action, decision.binding} == {:cut, {:pain, :liar}}
    end
  end

  describe "urgent pain" do
    test "cuts between two windows and leaves their calls in the window" do
      {_, state} = run(repeat(second(20), 3))
      urgent = %{second(20, count: 3, denied: 0, asked: 3) | elapsed_ms: 20, pain: %{db: 1.0}}

      {state, decision} = ClosedLoop.step(state, urgent, 3_020)
      assert {decision.action, decision.binding} == {:cut, {:pain, :db}}
      assert_in_delta decision.scale, 0.7, 1.0e-9
      # Three calls in 20 ms are not 150 per second.
      assert Enum.max(state.estimates.rates) == 80.0
      assert Work.finished(state.window.fresh) == 3

      {_state, decision} = ClosedLoop.step(state, urgent, 3_040)
      assert decision.action == :hold
    end
  end

  describe "grow" do
    test "the scale grows after two calm windows: slowly near the last cut, then faster" do
      hot = repeat(second(300), 2)
      {decisions, _} = run(repeat(second(20), 5) ++ hot ++ repeat(second(20), 8))
      grown = for %{action: :grow} = decision <- decisions, do: decision.scale / decision.from
      assert [a, b, c, d | _] = grown
      for near <- [a, b, c], do: assert_in_delta(near, 1.03, 1.0e-6)
      assert d >= 1.08
    end

    test "the scale does not grow while the guard denies calls" do
      hot = repeat(second(300), 2)
      full = second(20, denied: 0, guarded: 20)
      {decisions, _} = run(repeat(second(20), 5) ++ hot ++ repeat(full, 4))
      assert %{action: :hold, held_by: :guard} = List.last(decisions)
    end

    test "the scale grows above 1.0 only if the ceiling allows it and calls use it up" do
      used = second(20, asked: 110, denied: 10, count: 100)
      {decisions, _} = run(repeat(used, 10))
      assert %{scale: 1.0, held_by: :ceiling} = List.last(decisions)

      {decisions, _} = run(repeat(used, 10), ceiling: 2.0)
      assert List.last(decisions).scale > 1.0

      quiet = second(20, asked: 50, denied: 0, count: 50)
      {decisions, _} = run(repeat(quiet, 10), ceiling: 2.0)
      assert List.last(decisions).scale == 1.0
    end
  end

  describe "guard" do
    test "is the rate times how long a call may stay, by Little's law" do
      {decisions, _} = run(repeat(second(20), 3), target: 300)
      # 100 a second, two thirds of 300 ms.
      assert List.last(decisions).guard == 20

      {decisions, _} = run(repeat(second(50), 3))
      # Three times the usual 50 ms.
      assert_in_delta List.last(decisions).guard, 15, 1
    end

    test "is learned from how long callers waited before they gave up" do
      {decisions, _} = run(repeat(second(20), 3) ++ [second(20, count: 79, failing: 1)])
      # They waited a second: a third of it.
      assert_in_delta List.last(decisions).guard, 34, 1
    end

    test "rises while it denies calls that are all as fast as usual, and falls with stress" do
      full = second(50, denied: 0, guarded: 30)
      {decisions, _} = run(repeat(second(50), 5) ++ repeat(full, 10) ++ [second(900)])
      guards = Enum.map(decisions, & &1.guard)
      assert_in_delta Enum.at(guards, 4), 15, 1
      # Three standard deviations of 15.
      assert_in_delta Enum.at(guards, 14), 27, 1
      assert_in_delta List.last(guards), 15, 1
    end

    test "falls to four if nearly all calls fail" do
      {decisions, _} = run(repeat(second(20), 3) ++ repeat(second(20, count: 1, failing: 99), 6))
      assert List.last(decisions).guard == 4
    end
  end

  test "a queue that the guard keeps full never counts as usual" do
    full = second(45, denied: 0, guarded: 30)
    {decisions, state} = run(repeat(second(20), 10) ++ repeat(full, 600))
    assert_in_delta state.estimates.base.p25, 20, 1
    assert List.last(decisions).guard == Enum.at(decisions, 20).guard
  end

  test "a window needs fifteen calls or five seconds" do
    slow = second(300, count: 3, asked: 5, denied: 2)
    {decisions, _} = run(repeat(second(20), 5) ++ repeat(slow, 4))
    assert List.last(decisions).stress == 0.0
    {decisions, _} = run(repeat(second(20), 5) ++ repeat(slow, 5))
    assert List.last(decisions).stress > 0.9
  end

  test "a reason to hold is reported once" do
    hot = repeat(second(20), 5) ++ repeat(second(300), 2) ++ repeat(second(60), 5)
    {decisions, _} = run(hot)
    band = Enum.filter(decisions, &(&1.held_by == :dead_band))
    if band != [], do: assert(Enum.count(band, & &1.news?) == 1)
    for %{news?: true} = decision <- decisions, do: assert(decision.sentence)
  end
end
