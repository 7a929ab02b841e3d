defmodule RateLimiter.VSM.ObserveTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories, only: [for_all: 3]
  import RateLimiter.Support.Subsystems

  alias RateLimiter.Adaptive.{Fixed, Observation, Work}
  alias RateLimiter.Algedonic
  alias RateLimiter.Signals.Ledger
  alias RateLimiter.VSM.{Explain, Gate, Loop, Observe, Subsystem, Table}

  setup do
    options = [law: Fixed, limit: 100, per: :second]

    table =
      new(
        [top: options, work: [parent: :top, patience: 3_000] ++ options],
        stuck_after: 5_000,
        half_life: 1_000_000_000,
        ttl: 10_000
      )

    %{table: table, work: Table.subsystem(table, :work), loop: Loop.resume(table, :work)}
  end

  # The observation after so many milliseconds, and the next loop.
  defp look(%{table: table} = _context, loop, ms \\ 1_000) do
    advance(table, ms)
    {loop, seen} = Observe.look(loop)
    {seen, loop}
  end

  # A whole step without a decision.
  defp step(context, loop, ms \\ 1_000) do
    {seen, loop} = look(context, loop, ms)
    Observe.reflect(loop, seen)
  end

  defp put(%{work: work}, kind, source, level), do: Ledger.put(work, kind, source, level, "why")

  describe "look/1" do
    test "has everything since the last look, and once", context do
      %{table: table, work: %{gate: gate} = work} = context
      {%{observation: first}, loop} = look(context, context.loop, 250)
      assert first == %Observation{limit: 100.0, elapsed_ms: 250}

      work(table, :work, [:ok, :timeout], 40)
      Gate.check(work, "a", 1_000)
      Gate.set_guard(gate, 1)
      {:ok, permit} = Gate.enter(work, "a", 1)
      {:error, _, _} = Gate.enter(work, "a", 1)
      Gate.cut(gate)
      Gate.record(gate, :ok, 1_000)
      put(context, :pain, :a, 0.5)
      put(context, :pleasure, :b, 0.25)
      {seen, loop} = look(context, loop, 960)

      assert %Observation{
               elapsed_ms: 1_000,
               asked: 5,
               denied: 1,
               guarded: 1,
               in_flight: 1,
               fresh: %Work{ok: 1},
               earlier: %Work{ok: 1, timeouts: 1, waited_us: 40_000},
               pain: %{a: pain},
               pleasure: %{b: pleasure}
             } = seen.observation

      assert_in_delta pain, 0.5, 1.0e-6
      assert_in_delta pleasure, 0.25, 1.0e-6
      assert %{level: ^pain, now: 2_250, pain: [%{source: :a, reason: "why"}]} = seen

      {%{observation: next}, _loop} = look(context, loop)
      assert %{asked: 0, denied: 0, guarded: 0, in_flight: 1, fresh: none, earlier: none} = next
      assert none == %Work{}
      Gate.finish(permit, :ok)
    end

    test "takes a millisecond at least", context do
      assert {%{observation: %{elapsed_ms: 1}}, _loop} = look(context, context.loop, 0)
    end

    test "does not take a faded signal for pain or pleasure", context do
      for kind <- [:pain, :pleasure] do
        put(context, kind, :faded, 0.0099)
        put(context, kind, :faint, 0.0101)
      end

      {%{observation: observation}, _loop} = look(context, context.loop)
      assert {Map.keys(observation.pain), Map.keys(observation.pleasure)} == {[:faint], [:faint]}
    end

    test "deletes expired signals", context do
      put(context, :pain, :old, 0.9)
      {_seen, loop} = look(context, context.loop, 9_999)
      assert :ets.info(Table.get(context.table, :signals), :size) == 1
      {%{observation: observation}, _loop} = look(context, loop, 1)
      assert observation.pain == %{}
      assert :ets.info(Table.get(context.table, :signals), :size) == 0
    end

    test "contains a source that reports great pain for long, and explains it once", context do
      put(context, :pain, :stuck, 1.0)
      {%{observation: %{pain: %{stuck: before}}}, loop} = look(context, context.loop, 4_999)
      assert before > 0.9
      assert loop.contained == []

      {%{observation: %{pain: %{stuck: 0.13}}, level: 0.13}, loop} = look(context, loop, 1)
      assert loop.contained == [:stuck]
      assert [%{held_by: {:contained, :stuck}}] = Explain.last(context.table, :work)
      {_seen, loop} = look(context, loop)
      assert [_once] = Explain.last(context.table, :work)

      put(context, :pain, :stuck, 0.1)
      assert {%{observation: %{pain: %{stuck: less}}}, %{contained: []}} = look(context, loop)
      assert_in_delta less, 0.1, 1.0e-6
    end

    # A source that is contained now, beside so many calls since the last look, each of so many milliseconds.
    defp beside(context, loop, calls, ms) do
      put(context, :pain, :stuck, 1.0)
      loop = %{loop | calm_ms: 20.0}
      for _ <- 1..calls//1, do: Gate.record(context.work.gate, :ok, ms * 1_000)
      {%{level: level}, loop} = look(context, loop, 0)
      {level, loop}
    end

    test "ignores a contained source while the work goes well, for ten seconds after that was seen",
         context do
      put(context, :pain, :stuck, 1.0)
      advance(context.table, 5_000)

      # Nine calls are too few for a verdict. The tenth may come later, from before a cut.
      assert {0.13, loop} = beside(context, context.loop, 9, 25)
      Gate.record(context.work.gate, :ok, 25_000)
      Gate.cut(context.work.gate)
      assert {+0.0, loop} = beside(context, loop, 0, 25)
      advance(context.table, 10_000)
      assert {+0.0, loop} = beside(context, loop, 0, 25)
      advance(context.table, 1)
      assert {0.13, loop} = beside(context, loop, 0, 25)
      # The next verdict is about new calls.
      assert {0.13, loop} = beside(context, loop, 9, 25)
      assert {0.13, loop} = beside(context, loop, 90, 100)
      assert {+0.0, _loop} = beside(context, loop, 10, 25)
    end
  end

  describe "reflect/2: demand" do
    # Steps with so many calls in each, of so many milliseconds.
    defp demanded(context, loop, steps, calls, ms) do
      Enum.reduce(1..steps, loop, fn _, loop ->
        for _ <- 1..calls//1, do: Gate.check(context.work, "a", 0)
        step(context, loop, ms)
      end)
    end

    test "is an average of the calls per second, three tenths for the last second", context do
      loop = demanded(context, context.loop, 1, 40, 1_000)
      assert_in_delta Subsystem.demand(context.work), 12, 0.001
      demanded(context, loop, 1, 0, 1_000)
      assert_in_delta Subsystem.demand(context.work), 8.4, 0.001
    end

    test "does not depend on how often it is looked at" do
      [one, four] =
        for {steps, calls, ms} <- [{1, 40, 1_000}, {4, 10, 250}] do
          table = new(work: [law: Fixed, limit: 100, per: :second])
          work = Table.subsystem(table, :work)
          loop = Loop.resume(table, :work)
          demanded(%{table: table, work: work}, loop, steps, calls, ms)
          Subsystem.demand(work)
        end

      assert_in_delta one, four, 0.01
    end

    test "to be ready for is never below the demand, nor below one call in ten seconds",
         context do
      loop = demanded(context, context.loop, 1, 0, 1_000)
      assert Subsystem.need(context.work) == 0.1
      demanded(context, loop, 30, 40, 1_000)
      assert Subsystem.need(context.work) >= Subsystem.demand(context.work)

      # Of 400 calls in ten seconds, twice the standard deviation more, and one: nearly, after half a minute.
      usual = 40 * (1 - :math.exp(-3)) * 10
      expected = (usual + 2 * :math.sqrt(usual) + 1) / 10
      assert_in_delta Subsystem.need(context.work), max(expected, 40), 0.1
    end

    test "to be ready for outlasts a silence, for which the demand is soon zero", context do
      loop = demanded(context, context.loop, 60, 40, 1_000)
      Enum.reduce(1..10, loop, fn _, loop -> step(context, loop) end)
      assert Subsystem.demand(context.work) < 1.2
      usual = 400 * :math.exp(-1)
      expected = (usual + 2 * :math.sqrt(usual) + 1) / 10
      assert_in_delta Subsystem.need(context.work), expected, 0.1
    end
  end

  describe "reflect/2: durations" do
    # A step with calls of these durations in milliseconds.
    defp durations(context, loop, durations) do
      for ms <- durations, do: Gate.record(context.work.gate, :ok, ms * 1_000)
      step(context, loop)
    end

    test "are averages of the mean and of the fast quarter", context do
      loop = durations(context, context.loop, [10, 20, 30, 40])
      assert Subsystem.mean_ms(context.work) == 25.0
      assert_in_delta loop.calm_ms, 10, 0.3
      loop = durations(context, loop, [20, 40, 60, 80])
      assert_in_delta Subsystem.mean_ms(context.work), 32.5, 0.001
      assert_in_delta loop.calm_ms, 13, 0.4
      assert step(context, loop).calm_ms == loop.calm_ms
      assert_in_delta Subsystem.mean_ms(context.work), 32.5, 0.001
    end

    test "count as usual only without pain", context do
      loop = durations(context, context.loop, [10])

      for {level, learned?} <- [{0.101, false}, {0.09, true}] do
        put(context, :pain, :a, level)
        assert durations(context, loop, [20]).calm_ms != loop.calm_ms == learned?
      end

      contained = %{loop | contained: [:stuck]}
      {seen, _loop} = look(context, loop)
      Gate.record(context.work.gate, :ok, 20_000)
      seen = put_in(seen.observation.fresh, Work.record(%Work{}, :ok, 20_000))
      assert Observe.reflect(contained, seen).calm_ms == loop.calm_ms
    end
  end

  test "reflect/2 saves the loop for the next controller", context do
    loop = step(context, context.loop)
    assert Loop.resume(context.table, :work) == loop
  end

  describe "reflect/2: alarms" do
    setup %{table: table} do
      instance = Table.get(table, :instance)
      for kind <- [:pain, :pleasure], do: Algedonic.subscribe(kind, instance: instance)
      :ok
    end

    test "end when all sources together are below a quarter", context do
      for kind <- [:pain, :pleasure] do
        Algedonic.report(context.work, kind, :a, 0.6, nil)
        assert_received {:algedonic, ^kind, %{event: :began}}
        put(context, kind, :a, 0.1)
        put(context, kind, :b, 0.3)
        loop = step(context, context.loop)
        refute_received {:algedonic, _kind, _alarm}
        put(context, kind, :b, 0.2)
        step(context, loop)
        assert_received {:algedonic, ^kind, %{event: :ended, subsystem: :work}}
      end
    end

    # Steps of a second with pain of this level, from a loop that may have suffered before.
    defp suffer(context, loop, level, seconds) do
      Enum.reduce(1..seconds, loop, fn _, loop ->
        put(context, :pain, :db, level)
        step(context, loop)
      end)
    end

    defp escalations(escalated \\ []) do
      receive do
        {:algedonic, :pain, %{event: :escalated} = alarm} -> escalations([alarm | escalated])
        {:algedonic, _, _} -> escalations(escalated)
      after
        0 -> Enum.reverse(escalated)
      end
    end

    test "are escalated to the parent when pain lasts, once per patience", context do
      # The first step sees the pain.
      loop = suffer(context, context.loop, 0.6, 3)
      assert escalations() == []
      loop = suffer(context, loop, 0.6, 1)

      assert [%{subsystem: :work, to: :top, source: :db, level: level, reason: reason}] =
               escalations()

      assert_in_delta level, 0.6, 1.0e-6
      assert reason == "Pain of 0.6 has lasted 3.0 s at scale 1.0."

      pain = fn -> Ledger.entries(context.table, :pain, :top, Table.now_ms(context.table)) end
      assert [%{source: {:child, :work}, reason: ^reason, at_ms: 5_000}] = pain.()

      # In between, the pain of the parent is kept from fading.
      loop = suffer(context, loop, 0.6, 2)
      assert escalations() == []
      assert [%{source: {:child, :work}, reason: "not resolved", at_ms: 7_000}] = pain.()
      suffer(context, loop, 0.6, 1)
      assert [%{reason: "Pain of 0.6 has lasted 6.0 s" <> _}] = escalations()
    end

    test "are not escalated for weaker pain, nor for pain that has ended in between", context do
      suffer(context, context.loop, 0.499, 9)
      assert escalations() == []

      loop = suffer(context, context.loop, 0.501, 3)
      # It does not have to stay so strong, but it must not end.
      assert suffer(context, loop, 0.26, 1).escalated_ms != nil
      assert [_once] = escalations()
      ended = suffer(context, loop, 0.24, 1)
      assert ended.suffering_ms == nil
      suffer(context, ended, 0.6, 3)
      assert escalations() == []
    end

    test "are escalated again after they have ended, also within the patience", context do
      loop = suffer(context, context.loop, 0.6, 4)
      assert [_first] = escalations()
      ended = suffer(context, loop, 0.1, 1)
      suffer(context, %{ended | hopeless: true}, 0.6, 1)
      assert [_second] = escalations()
    end

    test "last while a source is contained, which may hold the scale", context do
      loop = suffer(context, context.loop, 0.95, 3)
      assert suffer(context, %{loop | contained: [:db]}, 0.95, 5).suffering_ms == 2_000
      assert [_first, _second] = escalations()
      calm = %{loop | contained: [], suffering_ms: 2_000}
      assert suffer(context, calm, 0.1, 1).suffering_ms == nil
    end

    test "are escalated at once if the law can do no more, with the pain that was reported",
         context do
      loop = step(context, %{context.loop | hopeless: true})
      assert [%{level: +0.0, source: nil, reason: "The law can do no more" <> _}] = escalations()
      assert loop.suffering_ms == 2_000
      advance(context.table, 3_000)
      put(context, :pain, :db, 0.3)
      put(context, :pain, :web, 0.2)
      step(context, loop)
      assert [%{level: level, source: :db}] = escalations()
      assert_in_delta level, 0.3, 1.0e-6
    end

    test "of a contained source are escalated with its own level", context do
      put(context, :pain, :db, 1.0)
      advance(context.table, 5_000)
      step(context, %{context.loop | hopeless: true}, 0)
      assert [%{level: level, source: :db}] = escalations()
      assert level > 0.99
    end

    test "of the root are escalated to subscribers alone", context do
      loop = %{Loop.resume(context.table, :top) | hopeless: true}
      step(context, loop)
      assert [%{subsystem: :top, to: nil}] = escalations()
      # Within the patience, there is no parent whose pain could fade.
      step(context, Loop.resume(context.table, :top))
      assert escalations() == []
    end
  end

  test "reflect/2 explains new failures of the measure", context do
    Table.put(context.table, {:measure_failed, :work}, 2)
    assert step(context, context.loop).measure_failures == 2
    assert [%{held_by: :no_opinion}] = Explain.last(context.table, :work)
  end

  test "in random histories, no call is observed twice or lost", context do
    for_all seed, 20 do
      :rand.seed(:exsss, seed)

      {totals, _loop} =
        Enum.reduce(1..20, {%Observation{}, Loop.resume(context.table, :work)}, fn _,
                                                                                   {sum, loop} ->
          work(context.table, :work, List.duplicate(:ok, :rand.uniform(4)), :rand.uniform(50))
          if :rand.uniform(3) == 1, do: Gate.cut(context.work.gate)
          {%{observation: seen}, loop} = look(context, loop, :rand.uniform(100))
          finished = sum.fresh |> Work.add(seen.fresh) |> Work.add(seen.earlier)
          {%{sum | fresh: finished, asked: sum.asked + seen.asked}, loop}
        end)

      assert totals.fresh.ok == totals.asked
      assert totals.asked >= 20
      assert totals.fresh.latency.count == totals.fresh.ok
    end
  end
end
