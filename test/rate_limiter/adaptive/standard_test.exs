defmodule RateLimiter.Adaptive.StandardTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories, only: [calm: 0]

  alias RateLimiter.Adaptive.{Fixed, Observation, Standard}

  test "pain is smoothed without reported work, and waits for a window with it" do
    pain = %Observation{pain: %{db: 0.5}}
    {_, decision} = Standard.step(Standard.new([]), pain, 1_000)
    assert decision.action == :cut

    {state, _} = Standard.step(Standard.new([]), calm(), 1_000)
    {_, closed} = Standard.step(state, %{calm() | pain: %{db: 0.5}}, 2_000)
    assert closed.held_by == :confirming
  end

  test "the scale is kept when one law replaces the other" do
    pain = %Observation{pain: %{db: 1.0}}
    {state, decision} = Standard.step(Standard.new([]), pain, 1_000)
    {_, closed} = Standard.step(state, calm(), 2_000)
    assert closed.from == decision.scale
  end

  test "work that was reported ten minutes ago no longer counts" do
    {state, _} = Standard.step(Standard.new([]), calm(), 0)
    {state, _} = Standard.step(state, %Observation{}, 600_000)
    {_, decision} = Standard.step(state, %Observation{pain: %{db: 0.5}}, 601_000)
    assert decision.action == :cut
  end

  test "Fixed never changes the scale" do
    state = Fixed.new(scale: 0.5)

    assert {^state, %{scale: 0.5, action: :hold}} =
             Fixed.step(state, %{calm() | pain: %{db: 1.0}}, 0)
  end
end
