defmodule RateLimiter.Adaptive.SignalsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.{Observation, Signals}

  # The decisions for one pain, or {pain, pleasure}, per second.
  defp decide(pains, options \\ []) do
    {decisions, _} =
      Enum.map_reduce(pains, {Signals.new(options), 0}, fn pain, {state, now} ->
        {pain, pleasure} = if is_tuple(pain), do: pain, else: {pain, 0.0}
        observation = %Observation{pain: %{db: pain}, pleasure: %{db: pleasure}}
        {state, decision} = Signals.step(state, observation, now + 1_000)
        {decision, {state, now + 1_000}}
      end)

    decisions
  end

  test "pain lowers the scale and is explained with its source" do
    [first, second] = decide([0.6, 0.6])
    assert first.action == :cut
    assert first.binding == {:pain, :db}
    assert first.sentence == "Pain of 0.36 from :db: the scale is cut from 1.0 to 0.93."
    assert second.scale < first.scale
  end

  test "a change too small for two decimals is explained with more" do
    [decision] = decide([0.0], scale: 0.1)
    assert decision.sentence == "Pain is 0.0, pleasure 0.0: the scale grows from 0.1 to 0.101."
  end

  test "urgent pain is not smoothed and cuts at most once per second" do
    state = Signals.new([])
    urgent = %Observation{elapsed_ms: 20, pain: %{db: 1.0}}
    {state, decision} = Signals.step(state, urgent, 1_000)
    assert_in_delta decision.scale, 0.7, 1.0e-9

    {state, decision} = Signals.step(state, urgent, 1_020)
    assert {decision.action, decision.held_by} == {:hold, :settling}

    {_state, decision} = Signals.step(state, urgent, 2_000)
    assert_in_delta decision.scale, 0.49, 1.0e-9
  end

  test "brief pain is forgotten in seconds" do
    decisions = decide([0.5, 0, 0, 0, 0])
    assert Enum.map(decisions, & &1.action) == [:cut, :hold, :grow, :grow, :grow]
    assert Enum.at(decisions, 1).held_by == :dead_band
  end

  test "pleasure speeds up growth, and only pleasure raises the scale above 1.0" do
    slow = decide(List.duplicate(0, 10), scale: 0.5)
    fast = decide(List.duplicate({0, 1.0}, 10), scale: 0.5)
    assert List.last(fast).scale > List.last(slow).scale

    assert List.last(decide([0, 0, 0], ceiling: 2.0)).scale == 1.0
    assert List.last(decide(List.duplicate({0, 1.0}, 5), ceiling: 2.0)).scale > 1.0
  end

  test "near the last cut the scale grows a third as fast" do
    [cut | after_it] = decide([0.5, 0, 0, 0, 0, 0, 0, 0, 0])
    assert cut.scale > 0.93
    grown = for %{action: :grow} = decision <- after_it, do: decision.scale / decision.from
    assert_in_delta hd(grown), 1 + 0.01 / 3, 1.0e-3
  end

  test "pain that did not fall while the scale was halved is escalated and freezes the scale" do
    decisions = decide(List.duplicate(0.8, 20))
    frozen = Enum.find(decisions, &(&1.held_by == :frozen))
    assert frozen.escalate?
    assert frozen.scale > 0.3 and frozen.scale <= 0.5
    assert List.last(decisions).scale == frozen.scale
    assert Enum.count(decisions, & &1.escalate?) == 1

    # When the pain stops, the scale recovers.
    {back, _} = Enum.split(decide(List.duplicate(0.8, 20) ++ List.duplicate(0, 200)), -1)
    assert List.last(back).scale > 0.9
  end

  test "new/1 accepts the common options of all laws" do
    assert %Signals{floor: 0.2, ceiling: 1.5, scale: 1.0} =
             Signals.new(floor: 0.2, ceiling: 1.5, target: nil)

    assert_raise ArgumentError, ~r/law: unknown option :celing, did you mean :ceiling/, fn ->
      Signals.new(celing: 2)
    end
  end

  test "a late step counts for its elapsed time" do
    state = Signals.new(scale: 0.5)
    {_, one} = Signals.step(state, %Observation{elapsed_ms: 3_000}, 3_000)
    assert_in_delta one.scale, 0.5 * :math.pow(1.01, 3), 1.0e-9
  end
end
