defmodule RateLimiter.Health.MonitorTest do
  use ExUnit.Case, async: true

  alias RateLimiter.{Health, Test, VSM}
  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Sensors.Timer
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.{Table, Tree}

  # A node with one sensor, whose value the test sets.
  setup context do
    reading = :counters.new(1, [])
    measure = fn -> if (n = :counters.get(reading, 1)) < 0, do: raise("no pool"), else: n end

    Test.start(
      name: context.test,
      vsm: [
        dry_run: context[:dry_run] || false,
        sensors: [pool: [measure: measure, ok: 10, warn: 20, crit: 30]],
        subsystems: [
          s1: [limit: 100, per: :second, law: Fixed, priority: 1],
          s5: [limit: 20, per: :second, law: Fixed, priority: 5]
        ]
      ]
    )

    %{name: context.test, reading: reading}
  end

  # A second with the usual calls. Returns how many of each subsystem were admitted.
  defp second(context, seconds \\ 1) do
    for _ <- 1..seconds do
      s1 = for _ <- 1..90, do: VSM.check_subsystem_limit(:s1, "a", instance: context.name)
      s5 = for _ <- 1..10, do: VSM.check_subsystem_limit(:s5, "a", instance: context.name)
      Test.advance(:second)
      {admitted(s1), admitted(s5)}
    end
    |> List.last()
  end

  defp admitted(answers), do: Enum.count(answers, &match?({:ok, _}, &1))

  defp reads(context, value), do: :counters.put(context.reading, 1, value)

  defp open(context),
    do: for({name, metrics} <- VSM.subsystem_metrics(context.name), do: {name, metrics.open})

  test "a healthy node admits all calls and reports its readings", context do
    reads(context, 5)
    assert second(context, 3) == {90, 10}
    assert open(context) == [s1: 1.0, s5: 1.0]
    assert Health.report(context.name) == %{pool: %{value: 5, stress: 0.0, no_opinion: nil}}
    assert VSM.explain(:s1, context.name) == []
  end

  test "an overloaded node sheds the least important calls first, and recovers", context do
    reads(context, 25)
    second(context, 4)
    {s1, s5} = second(context)
    assert s1 < 60
    assert s5 == 10

    assert [%{subsystem: nil, action: :cut, binding: :pool, to: to, sentence: sentence} | _] =
             VSM.explain(:s1, context.name)

    assert to < 0.7
    assert sentence =~ ~r/^This node admits \d+(\.\d)? % of calls: :pool reads 25\.0\.$/

    assert %{shed: shed, usage: %{scale: 1.0}, scale: 1.0} =
             VSM.subsystem_metrics(context.name).s1

    assert shed > 0

    reads(context, 0)
    second(context, 90)
    assert open(context) == [s1: 1.0, s5: 1.0]
    assert second(context) == {90, 10}
  end

  test "an overloaded node admits the first calls of an important subsystem", context do
    reads(context, 1_000)

    for _ <- 1..5 do
      for _ <- 1..50, do: VSM.check_subsystem_limit(:s1, "a", instance: context.name)
      Test.advance(:second)
    end

    assert %{s1: %{open: open}} = VSM.subsystem_metrics(context.name)
    assert open < 0.5
    s5 = for _ <- 1..10, do: VSM.check_subsystem_limit(:s5, "a", instance: context.name)
    assert admitted(s5) == 10
  end

  test "late timers close the gate of a busy node and not of an idle one", context do
    for busy <- [0.01, 0.3, 0.5] do
      reads(context, round(Timer.own(500, busy)))
      assert second(context, 5) == {90, 10}, "at #{busy}"
    end

    reads(context, round(Timer.own(500, 0.8)))
    assert {s1, 10} = second(context, 5)
    assert s1 < 60
  end

  @tag dry_run: true
  test "a dry run explains the gate and sheds no calls", context do
    reads(context, 30)
    assert second(context, 5) == {90, 10}
    assert [%{subsystem: nil, dry_run: true} | _] = VSM.explain(:s1, context.name)
  end

  test "a failing sensor has no opinion and is explained once", context do
    reads(context, 5)
    second(context, 2)
    reads(context, -1)
    assert second(context, 5) == {90, 10}

    assert [%{subsystem: nil, held_by: :no_opinion, binding: :pool, sentence: sentence}] =
             VSM.explain(:s1, context.name)

    assert sentence == "The sensor :pool has no opinion: it raised RuntimeError: no pool."
    assert %{pool: %{value: nil, no_opinion: "it raised" <> _}} = Health.report(context.name)
  end

  defmodule Late do
    @behaviour RateLimiter.Health

    @impl true
    def init(options) do
      if :counters.get(options[:ready], 1) == 0, do: raise("not yet")
      options[:instance]
    end

    @impl true
    def measure(state), do: {:ok, 5, state}
  end

  test "a sensor that cannot be initialised has no opinion, and is tried again", context do
    name = {:late, context.test}
    ready = :counters.new(1, [])
    sensors = for own <- [:schedulers, :run_queue, :timer, :memory], do: {own, false}
    late = [late: [module: Late, ready: ready, ok: 10, warn: 20, crit: 30]]

    start_supervised!(
      {RateLimiter,
       name: name,
       vsm: [
         interval: 86_400_000,
         sensors: late ++ sensors,
         subsystems: [a: [limit: 1, per: :day, law: Fixed]]
       ]}
    )

    table = Tree.fetch!(name)
    Clock.step({:monitor, table})
    assert %{late: %{value: nil, no_opinion: why}} = Health.report(name)
    assert why == "it raised RuntimeError: not yet"

    :counters.put(ready, 1, 1)
    Clock.step({:monitor, table})
    assert Health.report(name) == %{late: %{value: 5, stress: 0.0, no_opinion: nil}}
  end

  test "a killed monitor leaves the gates unchanged, and the next one resumes from them",
       context do
    reads(context, 25)
    second(context, 5)
    before = open(context)
    assert before[:s1] < 1.0

    table = Tree.fetch!(context.name)
    pid = Registry.whereis({:monitor, table})
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, _, _, _}, 30_000
    Supervisor.which_children(Table.get(table, :loops))
    assert open(context) == before

    reads(context, 14)
    Clock.step({:monitor, table})
    assert Table.get(table, :gate) < 1.0
  end

  test "an instance reads the built-in sensors", context do
    name = {:live, context.test}

    start_supervised!(
      {RateLimiter,
       name: name, vsm: [interval: 86_400_000, subsystems: [a: [limit: 1, per: :day, law: Fixed]]]}
    )

    table = Tree.fetch!(name)
    for _ <- 1..2, do: Clock.step({:monitor, table})

    assert %{
             schedulers: %{value: busy},
             run_queue: %{value: waiting},
             memory: %{value: memory},
             timer: timer
           } = Health.report(name)

    assert busy >= 0 and busy <= 1 and waiting >= 0 and memory > 0
    assert timer.value == nil or timer.value >= 0
  end
end
