defmodule RateLimiter.VSM.ExplainTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Subsystems

  alias RateLimiter.Adaptive.{Decision, Fixed}
  alias RateLimiter.Support.Events
  alias RateLimiter.VSM.{Explain, Loop, Subsystem, Table}

  setup do
    health = {[:shop, :sold], fn _measurements, _metadata -> :ignore end}

    table =
      new(
        work: [law: Fixed, limit: 10, per: :second, health: health],
        other: [law: Fixed, limit: 10, per: :second]
      )

    %{table: table, loop: Loop.resume(table, :work)}
  end

  # An entry about the subsystem, one second after the previous one.
  defp add(%{table: table}, fields) do
    advance(table, 1_000)

    Explain.add(
      table,
      :work,
      Map.merge(%{action: :hold, from: 1.0, to: 1.0, sentence: "s"}, Map.new(fields))
    )
  end

  defp last(%{table: table}), do: Explain.last(table, :work)

  describe "add/3" do
    test "adds the time and the defaults of an entry", %{table: table} = context do
      add(context, action: :cut, to: 0.5, sentence: "why")

      assert last(context) == [
               %{
                 action: :cut,
                 from: 1.0,
                 to: 0.5,
                 sentence: "why",
                 subsystem: :work,
                 stress: 0.0,
                 binding: nil,
                 held_by: nil,
                 dry_run: false,
                 agreement: nil,
                 epoch: nil,
                 at: ~U[1970-01-01 00:00:02.000000Z],
                 at_ms: 2_000,
                 since: ~U[1970-01-01 00:00:02.000000Z],
                 steps: 1
               }
             ]

      assert Explain.last(table, :other) == []
    end

    test "emits the entry as an event of the instance", %{table: table} = context do
      Events.listen([[:rate_limiter, :vsm, :adaptation]])
      add(context, action: :cut, to: 0.5, held_by: :floor)
      instance = Table.get(table, :instance)

      assert_received {:event, _, %{from: 1.0, to: 0.5, stress: +0.0},
                       %{instance: ^instance, subsystem: :work, action: :cut, held_by: :floor}}
    end
  end

  describe "last/2" do
    test "has the entries of the subsystem and of this node's gate, the newest first", context do
      %{table: table} = context
      add(context, sentence: "one")
      advance(table, 1)
      Explain.add(table, nil, %{action: :cut, from: 1.0, to: 0.9, sentence: "gate"})
      add(context, sentence: "two")
      assert [%{sentence: "two"}, %{sentence: "gate", subsystem: nil}, _one] = last(context)
      assert [%{sentence: "gate"}] = Explain.last(table, :other)
    end

    test "has 32 entries at most", context do
      for n <- 1..40, do: add(context, action: :cut, to: 0.1, sentence: "#{n}")
      assert length(Table.get(context.table, {:history, :work})) == 32
      sentences = Enum.map(last(context), & &1.sentence)
      assert sentences == for(n <- 40..9//-1, do: "#{n}")
      advance(context.table, 1)
      Explain.add(context.table, nil, %{action: :cut, from: 1.0, to: 0.9, sentence: "gate"})
      assert [%{sentence: "gate"} | rest] = last(context)
      assert {length(rest), List.last(rest).sentence} == {31, "10"}
    end
  end

  describe "many entries of one kind are one, from the first scale to the last" do
    # How many steps the second of two entries stands for.
    defp steps(context, one, other) do
      add(context, one)
      add(context, other)
      hd(last(context)).steps
    end

    test "for growth and for the return without calls", context do
      for action <- [:grow, :idle] do
        assert steps(context, [action: action, from: 0.1, to: 0.5],
                 action: action,
                 from: 0.5,
                 to: 0.9
               ) == 2

        assert [%{from: 0.1, to: 0.9, since: since, at: at} | _] = last(context)
        assert DateTime.diff(at, since) == 1
      end
    end

    test "for cuts below 3 %", context do
      cut = fn to -> steps(context, [action: :cut, to: 0.5], action: :cut, from: 0.5, to: to) end
      assert cut.(0.4851) == 2
      assert cut.(0.4849) == 1
    end

    test "for a law that keeps failing in the same way", context do
      failed = &[held_by: :law_failed, sentence: &1]
      assert steps(context, failed.("raised"), failed.("raised")) == 2
      assert steps(context, failed.("threw"), failed.("raised")) == 1
      assert steps(context, [sentence: "raised"], sentence: "raised") == 1
    end

    test "but not of different actions, reasons or dry runs", context do
      grow = [action: :grow]
      assert steps(context, grow, action: :idle) == 1
      assert steps(context, grow, held_by: :floor, action: :grow) == 1
      assert steps(context, grow, dry_run: true, action: :grow) == 1
    end

    test "for a store that fails and recovers: its last state and the one before", context do
      store = &add(context, held_by: :store, sentence: &1)
      for _ <- 1..3, do: Enum.each(["fails", "recovers"], store)

      assert [
               %{sentence: "recovers", steps: 3, since: recovered},
               %{sentence: "fails", steps: 3, since: failed}
             ] = last(context)

      assert {failed, recovered} ==
               {~U[1970-01-01 00:00:02.000000Z], ~U[1970-01-01 00:00:03.000000Z]}

      add(context, action: :cut, to: 0.5)
      store.("fails")
      assert [%{sentence: "fails", steps: 1}, %{action: :cut}, _, _] = last(context)
    end
  end

  describe "add/2" do
    test "has the scale in force, and how the nodes decided", %{loop: loop} = context do
      Subsystem.put_scale(loop.subsystem, 0.4)
      loop = %{loop | agreement: :agreed, epoch: 7, config: %{loop.config | dry_run: true}}
      Explain.add(loop, %{sentence: "held"})

      assert [%{action: :hold, from: 0.4, to: 0.4, dry_run: true, agreement: :agreed, epoch: 7}] =
               last(context)

      Explain.add(loop, %{action: :join, from: 1.0, sentence: "joined"})
      assert [%{action: :join, from: 1.0, to: 0.4, sentence: "joined"} | _] = last(context)
    end
  end

  test "decision/3 has the reasons of the decision, and an empty sentence without one", context do
    decision = %Decision{scale: 0.5, action: :cut, stress: 0.8, binding: :queue, held_by: :floor}
    Explain.decision(context.loop, %{decision | sentence: "why"}, 0.9)

    assert [
             %{
               from: 0.9,
               to: 0.5,
               action: :cut,
               stress: 0.8,
               binding: :queue,
               held_by: :floor,
               sentence: "why"
             }
           ] = last(context)

    Explain.decision(context.loop, decision, 0.9)
    assert [%{sentence: ""} | _] = last(context)
  end

  test "law_failed/2 has what the law did, and the scale that stays", context do
    Subsystem.put_scale(context.loop.subsystem, 0.25)
    Explain.law_failed(context.loop, "threw :ball")

    assert [
             %{
               held_by: :law_failed,
               action: :hold,
               sentence: "The law threw :ball: the scale stays 0.25."
             }
           ] = last(context)
  end

  test "contained/2 has the source, for how long, and whether it still counts", context do
    entry = %{source: :db, for_ms: 30_000, counts: 0.0, stated: 1.0}
    Explain.contained(context.loop, entry)
    Explain.contained(context.loop, %{entry | counts: 0.13, source: {:child, :a}})

    assert [holding, ignored] = last(context)
    assert %{held_by: {:contained, :db}, binding: {:pain, :db}, stress: +0.0} = ignored

    assert ignored.sentence ==
             ":db has reported pain of 0.9 or more for 30.0 s: it is ignored until it reports less than 0.7, " <>
               "because all other signals are healthy."

    assert %{held_by: {:contained, {:child, :a}}, stress: 0.13} = holding

    assert holding.sentence ==
             "{:child, :a} has reported pain of 0.9 or more for 30.0 s: it may hold the scale at 1.0, but no longer lower it."
  end

  describe "measure_failures/2" do
    # Failures in total, as the listener counts them.
    defp failures(%{table: table}, count), do: Table.put(table, {:measure_failed, :work}, count)

    test "explains new failures once a minute", %{loop: loop} = context do
      assert Explain.measure_failures(loop, 1_000) == loop
      failures(context, 1)
      loop = Explain.measure_failures(loop, 1_000)

      assert [%{held_by: :no_opinion, action: :hold, sentence: sentence}] = last(context)

      assert sentence ==
               "The :health function of [:shop, :sold] failed once: these events are not counted."

      failures(context, 4)
      assert Explain.measure_failures(loop, 60_999) == loop
      loop = Explain.measure_failures(loop, 61_000)

      assert [%{sentence: "The :health function of [:shop, :sold] failed 3 times" <> _}, _] =
               last(context)

      assert Explain.measure_failures(loop, 200_000) == loop
    end
  end

  test "unresolved/3 has the pain, how long it lasts, and the scale", %{loop: loop} do
    loop = %{loop | suffering_ms: 1_000}

    assert Explain.unresolved(loop, 0.6, 31_500) == "Pain of 0.6 has lasted 30.5 s at scale 1.0."

    assert Explain.unresolved(%{loop | hopeless: true}, 0.6, 31_500) ==
             "The law can do no more about pain of 0.6 at scale 1.0."
  end
end
