defmodule RateLimiter.Adaptive.ClosedLoop.ExplainTest do
  # The sentences as a user of `RateLimiter.VSM.explain/2` reads them.
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.ClosedLoop
  alias RateLimiter.Adaptive.ClosedLoop.{Audit, Estimates, Explain, Reading}
  alias RateLimiter.Adaptive.Decision

  defp latency(ms), do: %{p25: ms, p50: ms, mean: ms}

  defp state(fields \\ []) do
    estimates = %Estimates{base: latency(20.0), errors: 0.25, rates: [80.0]}
    struct!(%ClosedLoop{estimates: estimates, scale: 0.6}, fields)
  end

  defp reading(binding, fields \\ []) do
    fields =
      [binding: binding, stress: 0.456, latency: latency(1_234.56), errors: 0.125] ++ fields

    struct!(Reading, fields)
  end

  @queue "The fastest quarter of calls takes up to 1234.6 ms, usually 20.0 ms (a standing queue, stress 0.46)"

  test "change/3 has the cause, the scales, and what was proven" do
    decision = %Decision{from: 1.0, scale: 0.8, action: :cut}

    assert Explain.change(decision, state(), reading(:queue)) ==
             @queue <>
               ": the scale is cut from 1.0 to 0.8. Recently 80.0 calls per second were answered well."

    assert Explain.change(%{decision | action: :grow}, state(), reading(nil)) ==
             "Two calm windows (stress 0.46): the scale grows from 1.0 to 0.8."

    assert Explain.change(%{decision | action: :idle}, state(), nil) ==
             "No calls arrive: the scale returns from 1.0 to 0.8."

    assert Explain.change(%{decision | action: :audit}, state(), reading(:queue)) ==
             "The scale changes from 1.0 to 0.8."
  end

  test "held/3 has the cause and the reason for each kind of hold" do
    for {by, sentence} <- [
          confirming: "the scale is cut if a second window confirms it.",
          settling: "the last cut has not yet taken full effect.",
          floor: "the scale is at its floor, 0.1.",
          proven:
            "the scale stays 0.6, because recently 80.0 calls per second were answered well."
        ],
        do: assert(Explain.held(by, state(), reading(:queue)) == "#{@queue}: #{sentence}")

    assert Explain.held(:not_load, state(), reading(:queue)) ==
             @queue <>
               ", but no calls are denied and none pile up: shedding would not help, so the scale stays 0.6."

    assert Explain.held(:guard, state(guard: 7), reading(nil, guarded_share: 0.031)) ==
             "Calm, but 3.1 % of calls were denied because 7 were in flight: the scale stays 0.6."

    assert Explain.held(:ceiling, state(ceiling: 2), reading(nil)) ==
             "Calm, and calls are denied, but the scale is at its ceiling, 2.0."
  end

  test "held/3 in the dead band names the signal" do
    for {binding, name} <- [
          {nil, "no signal"},
          {:errors, "errors"},
          {{:pain, :db}, "pain of :db"}
        ] do
      assert Explain.held(:dead_band, state(binding: binding), reading(binding)) ==
               "Stress 0.46 (#{name}) is too high to grow and too low to cut: the scale stays 0.6."
    end
  end

  test "a cause is a queue, failures beyond the usual ones, or a source of pain" do
    cause = fn state, reading ->
      [cause, _rest] = String.split(Explain.held(:settling, state, reading), ": ")
      cause
    end

    assert cause.(state(), reading(:errors)) == "12.5 % of calls fail, stress 0.46"

    for {usual, said} <- [{0.03, " (usually 3 %)"}, {0.006, " (usually 0.6 %)"}, {0.005, ""}] do
      state = state(estimates: %{state().estimates | usual_errors: usual})
      assert cause.(state, reading(:errors)) == "12.5 % of calls fail#{said}, stress 0.46"
    end

    assert cause.(state(), reading({:pain, "db"})) == ~s("db" reports pain 0.46)
  end

  test "audit/3 has the evidence that load is not the cause, and what follows" do
    cut = state(chain: %Audit{scale: 1.0})

    assert Explain.audit(cut, reading({:pain, :db}), 0.9) ==
             ":db still reports pain 0.46 although the scale was cut from 1.0 to 0.6 and the work goes well: the " <>
               "source is ignored until it reports no pain, and the scale is 0.9."

    assert Explain.audit(cut, reading(:errors), 0.9) ==
             "25 % of calls fail although fewer are admitted: the failures do not come from load. They count as " <>
               "usual, and the scale is 0.9."

    assert Explain.audit(cut, reading(:queue), 0.9) ==
             "The fastest quarter of calls still takes 1234.6 ms although the scale was cut from 1.0 to 0.6 and " <>
               "fewer calls are in flight: the latency is load-insensitive. It counts as usual, and the scale is 0.9."

    assert Explain.audit(state(), reading(:queue), 0.6) ==
             "The fastest quarter of calls rose from 20.0 ms to 1234.6 ms, but no calls are denied and none pile " <>
               "up: the latency is load-insensitive, and shedding would not help. It counts as usual, and the " <>
               "scale stays 0.6."
  end
end
