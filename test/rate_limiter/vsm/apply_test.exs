defmodule RateLimiter.VSM.ApplyTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Subsystems

  alias RateLimiter.Adaptive.{Decision, Fixed, Work}
  alias RateLimiter.VSM.{Apply, Explain, Gate, Loop, Subsystem, Table}

  setup do
    options = [law: Fixed, limit: 100, per: :second]

    table =
      new(
        work: [shared: true] ++ options,
        part: [parent: :work] ++ options,
        dry: [dry_run: true] ++ options
      )

    %{table: table}
  end

  defp loop(%{table: table}, name \\ :work), do: Loop.resume(table, name)
  defp in_force(loop), do: {Subsystem.scale(loop.subsystem), Gate.scale(loop.subsystem.limiter)}
  defp explained(loop), do: Explain.last(loop.subsystem.table, loop.subsystem.name)

  describe "decision/2" do
    test "puts the scale on the limit and the guard on the gate, and records the decision",
         context do
      loop = loop(context)
      decision = %Decision{scale: 0.5, guard: 7}
      assert Apply.decision(loop, decision) == loop
      assert in_force(loop) == {0.5, 0.5}
      assert Gate.counts(loop.subsystem.gate).guard == 7
      assert Table.get(context.table, {:decision, :work}) == decision
      assert explained(loop) == []
    end

    test "explains what is news, from the scale of the law or else from the one in force",
         context do
      loop = loop(context)
      Apply.decision(loop, %Decision{scale: 0.5, action: :cut, news?: true, sentence: "one"})

      Apply.decision(loop, %Decision{
        scale: 0.2,
        from: 0.9,
        action: :cut,
        news?: true,
        sentence: "two"
      })

      assert [%{from: 0.9, to: 0.2, sentence: "two"}, %{from: 1.0, to: 0.5, sentence: "one"}] =
               explained(loop)
    end

    test "keeps whether the law can do more", context do
      hopeless = Apply.decision(loop(context), %Decision{scale: 0.5, escalate?: true})
      assert hopeless.hopeless
      refute Apply.decision(hopeless, %Decision{scale: 0.5}).hopeless
    end

    test "separates the work that began before a cut, and only before a cut", context do
      loop = loop(context)

      for {action, {fresh, earlier}} <- [cut: {0, 1}, hold: {1, 0}, audit: {1, 0}] do
        call = Gate.hold(loop.subsystem.gate)
        Apply.decision(loop, %Decision{scale: 0.5, action: action})
        Gate.finish(call, :ok)
        assert {%Work{ok: ^fresh}, %Work{ok: ^earlier}} = Gate.drain(loop.subsystem.gate)
      end
    end

    test "divides the scale and the guard among the children of a shared capacity", context do
      Subsystem.put_need(Table.subsystem(context.table, :part), 100.0)
      Apply.decision(loop(context), %Decision{scale: 0.5, guard: 1})
      part = Table.subsystem(context.table, :part)
      assert_in_delta Gate.scale(part.limiter), 0.5, 1.0e-6
      assert {:ok, permit} = Gate.enter(part, "a", 1)
      # Its room in the guard is set, too.
      assert {:error, :rate_limited, %{window: :in_flight, max: 1}} = Gate.enter(part, "a", 1)
      Gate.finish(permit, :ok)
    end

    test "is only recorded and explained in a dry run", context do
      loop = loop(context, :dry)
      call = Gate.hold(loop.subsystem.gate)
      decision = %Decision{scale: 0.5, guard: 7, action: :cut, news?: true, sentence: "dry"}
      Apply.decision(loop, decision)
      Gate.finish(call, :ok)
      assert in_force(loop) == {1.0, 1.0}
      assert Gate.counts(loop.subsystem.gate).guard == :infinity
      assert {%Work{ok: 1}, %Work{ok: 0}} = Gate.drain(loop.subsystem.gate)
      assert Table.get(context.table, {:decision, :dry}) == decision
      assert [%{dry_run: true, from: 1.0, to: 0.5}] = explained(loop)
    end
  end

  test "put/3 cuts the work if it is asked to, whatever the decision did", context do
    loop = loop(context)

    for {cut?, fresh} <- [{true, 0}, {false, 1}] do
      call = Gate.hold(loop.subsystem.gate)
      Apply.put(loop, %Decision{scale: 0.5}, cut?: cut?)
      Gate.finish(call, :ok)
      assert {%Work{ok: ^fresh}, _earlier} = Gate.drain(loop.subsystem.gate)
    end
  end

  test "put_guard/2 changes the guard, except in a dry run", context do
    for {name, guard} <- [work: 3, dry: :infinity] do
      loop = loop(context, name)
      assert Apply.put_guard(loop, 3) == :ok
      assert Gate.counts(loop.subsystem.gate).guard == guard
    end
  end
end
