defmodule RateLimiter.VSM.MetricsTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Subsystems

  alias RateLimiter.Adaptive.{Decision, Fixed}
  alias RateLimiter.Signals.Ledger
  alias RateLimiter.Usage
  alias RateLimiter.VSM.{Gate, Loop, Metrics, Subsystem, Table}

  setup do
    options = [law: Fixed, limit: 10, per: :second]

    table =
      new(
        top: options,
        work: [parent: :top, floor: 0.2, ceiling: 2.0, dry_run: true] ++ options
      )

    %{table: table, work: Table.subsystem(table, :work)}
  end

  test "a new subsystem has its configuration, its whole limit, and no signal", %{table: table} do
    assert table |> Metrics.all() |> Map.keys() |> Enum.sort() == [:top, :work]

    assert Metrics.all(table).work == %{
             parent: :top,
             floor: 0.2,
             ceiling: 2.0,
             dry_run: true,
             # No decision yet.
             stress: nil,
             binding: nil,
             action: nil,
             held_by: nil,
             sentence: nil,
             asked_scale: 1.0,
             scale: 1.0,
             own_scale: 1.0,
             demand: 0.0,
             asked: 0,
             denied: 0,
             guarded: 0,
             shed: 0,
             abandoned: 0,
             in_flight: 0,
             guard: :infinity,
             open: 1.0,
             pain: 0.0,
             pleasure: 0.0,
             sources: %{pain: %{}, pleasure: %{}},
             contained: [],
             usage: Gate.usage(Table.subsystem(table, :work)),
             agreement: nil,
             emergencies: 0
           }

    assert %{parent: nil, floor: 0.1, ceiling: 1.0, dry_run: false} = Metrics.all(table).top
  end

  test "the last decision is shown with the scale that it asked for", %{table: table} do
    decision = %Decision{
      scale: 0.3,
      stress: 0.7,
      binding: :queue,
      action: :hold,
      held_by: :floor,
      sentence: "why"
    }

    Table.put(table, {:decision, :work}, decision)

    assert %{
             asked_scale: 0.3,
             stress: 0.7,
             binding: :queue,
             action: :hold,
             held_by: :floor,
             sentence: "why"
           } = Metrics.all(table).work

    assert %{stress: nil} = Metrics.all(table).top
  end

  test "the scales, the demand, the gate and the usage are those in force", context do
    %{table: table, work: work} = context
    Subsystem.put_scale(work, 0.6)
    Subsystem.put_demand(work, 42.0)
    Gate.set_scale(work.limiter, 0.5)
    Gate.set_guard(work.gate, 3)
    Gate.check(work, "a", 4)
    Table.count(table, {:granted, :work})

    assert %{
             own_scale: 0.6,
             scale: 0.5,
             demand: 42.0,
             guard: 3,
             asked: 1,
             usage: %Usage{limiter: :work, max: 5, current: 4},
             emergencies: 1
           } = Metrics.all(table).work

    assert %{own_scale: 1.0, asked: 0, emergencies: 0} = Metrics.all(table).top
  end

  test "signals have their present level by source, and the strongest of them", context do
    %{table: table, work: work} = context
    for {source, level} <- [a: 0.4, b: 0.8], do: Ledger.put(work, :pain, source, level, nil)
    Ledger.put(work, :pleasure, :c, 0.5, nil)
    # A half-life.
    advance(table, 5_000)
    Ledger.put(work, :pain, :d, 0.3, nil)

    assert %{pain: 0.4, pleasure: 0.25, sources: sources} = Metrics.all(table).work
    assert sources == %{pain: %{a: 0.2, b: 0.4, d: 0.3}, pleasure: %{c: 0.25}}
    assert %{pain: +0.0, pleasure: +0.0} = Metrics.all(table).top
  end

  test "contained sources are those of the control loop", %{table: table} do
    loop = Loop.resume(table, :work)
    Loop.keep(%{loop | contained: [:db]})
    assert Metrics.all(table).work.contained == [:db]
  end

  test "with an agreement, a subsystem that has not met the others is alone", %{table: table} do
    Table.put(table, :agreement, :any)
    assert Metrics.all(table).work.agreement == %{state: :alone, epoch: nil, nodes: 1, by: nil}
  end
end
