defmodule RateLimiter.VSM.SupervisorTest do
  # Subsystems of real instances: their names, and which state survives which crash.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Processes

  alias RateLimiter.{Instance, VSM}
  alias RateLimiter.Adaptive.{Decision, Fixed}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Support.ScriptedLaw
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.{Gate, Subsystem, Table, Tree}

  @moduletag :capture_log

  # The test takes the steps. The controllers' own timer is a day.
  @never 86_400_000

  setup context do
    %{name: {__MODULE__, context.test}}
  end

  defp start(name, subsystems, options \\ []) do
    vsm = [subsystems: subsystems, interval: @never, sensors: quiet()] ++ options
    start_supervised!({RateLimiter, name: name, vsm: vsm}, id: name)
  end

  defp quiet, do: [schedulers: false, run_queue: false, timer: false, memory: false]

  defp table(name), do: Tree.fetch!(name)
  defp controller(name, subsystem), do: Registry.whereis({:controller, table(name), subsystem})

  defp loops(name) do
    [pid] =
      for {VSM.Supervisor, pid, _, _} <-
            Supervisor.which_children(Registry.whereis({:instance, name})),
          do: pid

    pid
  end

  # The supervisor answers after it has handled its child's exit.
  defp replaced(name, subsystem, old) do
    Supervisor.which_children(loops(name))
    new = controller(name, subsystem)
    if is_pid(new) and new != old, do: new, else: replaced(name, subsystem, old)
  end

  describe "subsystems of several instances" do
    test "may have the same names as each other and as limiters", %{name: name} do
      for n <- 1..3, do: start({name, n}, s1: [law: Fixed], s5: [law: Fixed])

      start_supervised!(
        {RateLimiter,
         name: {name, :limiters}, limiters: [s1: [windows: [w: [limit: 7, per: :day]]]]},
        id: :limiters
      )

      {:ok, _} = VSM.check_subsystem_limit(:s1, "a", instance: {name, 1}, cost: 100)

      assert {:error, :rate_limited, _} =
               VSM.check_subsystem_limit(:s1, "a", instance: {name, 1}, cost: 100)

      assert {:ok, %{max: 100, remaining: 99}} =
               VSM.check_subsystem_limit(:s1, "a", instance: {name, 2})

      assert {:ok, %{max: 7, remaining: 6}} = RateLimiter.check_and_track(:s1, "a", :w)
      assert RateLimiter.limiters({name, 1}) == []
    end

    test "raise for an instance without subsystems", %{name: name} do
      start_supervised!({RateLimiter, name: name})

      assert_raise ArgumentError,
                   ~r/^the instance .* has no subsystems\. Give it the option vsm: true, or vsm: \[subsystems: /,
                   fn -> VSM.check_subsystem_limit(:s1, "a", instance: name) end
    end
  end

  describe "a killed controller" do
    test "leaves scale, guard, counts and history unchanged, and the next one resumes from them",
         %{name: name} do
      key = {name, :a}

      start(name,
        a: [limit: 10, per: :day, law: ScriptedLaw.options(self(), key: key)],
        b: [law: Fixed, limit: 1, per: :day]
      )

      ScriptedLaw.say(key, %Decision{
        scale: 0.5,
        from: 1.0,
        guard: 3,
        action: :cut,
        news?: true,
        sentence: "cut"
      })

      Clock.step({:controller, table(name), :a})
      {:ok, %{remaining: 4}} = VSM.check_subsystem_limit(:a, "u", instance: name)

      [old, other] = [controller(name, :a), controller(name, :b)]
      kill(old)
      new = replaced(name, :a, old)

      assert %{a: %{scale: 0.5, own_scale: 0.5, guard: 3, asked: 1}} = VSM.subsystem_metrics(name)
      assert {:ok, %{remaining: 3}} = VSM.check_subsystem_limit(:a, "u", instance: name)
      assert [%{sentence: "cut"}] = VSM.explain(:a, name)
      assert controller(name, :b) == other

      # The law's state was saved, too.
      ScriptedLaw.say(key, fn state, _ -> %Decision{scale: state.scale + state.steps / 100} end)
      Clock.step({:controller, table(name), :a})
      assert VSM.subsystem_metrics(name).a.scale == 0.51
      assert new == controller(name, :a)
      :persistent_term.erase({ScriptedLaw, key})
    end

    test "is not needed for any call", %{name: name} do
      start(name, a: [limit: 10, per: :day, law: Fixed])
      :sys.suspend(controller(name, :a))
      :sys.suspend(loops(name))
      assert {:ok, _} = VSM.check_subsystem_limit(:a, "u", instance: name)
      assert {:ok, 1} = VSM.run(:a, "u", fn -> 1 end, instance: name)
      assert RateLimiter.Algedonic.pain(:a, 1.0, instance: name) == :ok
      assert %{a: %{asked: 2, pain: pain}} = VSM.subsystem_metrics(name)
      assert pain > 0.9
      :sys.resume(loops(name))
      :sys.resume(controller(name, :a))
    end

    test "loses no counts, also when killed a hundred times in a row", %{name: name} do
      start(name, a: [limit: 1_000, per: :day, law: Fixed])
      {:ok, _} = VSM.check_subsystem_limit(:a, "u", instance: name)
      [loops, instance] = [loops(name), Registry.whereis({:instance, name})]

      Enum.reduce(1..100, controller(name, :a), fn _, pid ->
        kill(pid)
        replaced(name, :a, pid)
      end)

      assert loops(name) == loops
      assert Registry.whereis({:instance, name}) == instance
      assert {:ok, %{remaining: 998}} = VSM.check_subsystem_limit(:a, "u", instance: name)
    end

    test "is replaced with a new loop if the saved loop crashes", %{name: name} do
      key = {name, :poison}
      start(name, a: [limit: 10, per: :day, law: ScriptedLaw.options(self(), key: key)])
      ScriptedLaw.say(key, %Decision{scale: 0.5})
      Clock.step({:controller, table(name), :a})
      ScriptedLaw.say(key, nil)

      # A loop that makes the next step crash.
      poisoned = %{Table.get(table(name), {:loop, :a}) | at_ms: :yesterday}
      Table.put(table(name), {:loop, :a}, poisoned)
      old = controller(name, :a)
      kill(old)
      new = replaced(name, :a, old)
      assert catch_exit(Clock.step({:controller, table(name), :a}))
      replaced(name, :a, new)
      assert Clock.step({:controller, table(name), :a}) == :ok
      assert VSM.subsystem_metrics(name).a.scale == 0.5
    end

    test "keeps a constant scale if its law cannot be started again", %{
      name: name
    } do
      key = {name, :stubborn}
      begins = :counters.new(1, [])
      :counters.put(begins, 1, 1)

      start(name,
        a: [limit: 10, per: :day, law: ScriptedLaw.options(self(), key: key, begins: begins)]
      )

      ScriptedLaw.say(key, %Decision{scale: 0.5})
      Clock.step({:controller, table(name), :a})
      :counters.put(begins, 1, 0)
      ScriptedLaw.say(key, fn _, _ -> raise "no more" end)
      for _ <- 1..3, do: Clock.step({:controller, table(name), :a})
      assert VSM.subsystem_metrics(name).a.scale == 0.5

      assert [
               %{
                 held_by: :law_failed,
                 sentence: "The law raised ArgumentError (does not begin)" <> _
               },
               %{held_by: :law_failed}
             ] = VSM.explain(:a, name)

      :persistent_term.erase({ScriptedLaw, key})
    end

    test "does not lose the next urgent step", %{name: name} do
      key = {name, :called}
      start(name, a: [limit: 10, per: :day, law: ScriptedLaw.options(self(), key: key)])
      pid = controller(name, :a)
      :sys.suspend(pid)
      RateLimiter.Algedonic.pain(:a, 1.0, instance: name)
      assert Subsystem.flag?(Table.subsystem(table(name), :a), :urgent)
      kill(pid)
      :sys.get_state(replaced(name, :a, pid))
      refute Subsystem.flag?(Table.subsystem(table(name), :a), :urgent)
      RateLimiter.Algedonic.pain(:a, 1.0, instance: name)
      assert_receive {:step, ^key, %{pain: pain}, _}, 30_000
      assert map_size(pain) == 1
    end
  end

  describe "controllers" do
    test "restart with their supervisor, and no count is lost", %{name: name} do
      start(name, a: [limit: 10, per: :day, law: Fixed])
      {:ok, _} = VSM.check_subsystem_limit(:a, "u", instance: name, cost: 4)
      old = controller(name, :a)
      kill(loops(name))
      replaced(name, :a, old)
      assert {:ok, %{remaining: 5}} = VSM.check_subsystem_limit(:a, "u", instance: name)
    end

    test "step about once per interval", %{name: name} do
      start_supervised!(
        {RateLimiter,
         name: name,
         vsm: [
           interval: 20,
           subsystems: [a: [limit: 1, per: :day, law: ScriptedLaw.options(self(), key: :alone)]]
         ]}
      )

      for _ <- 1..3,
          do:
            assert_receive({:step, :alone, %{elapsed_ms: elapsed}, _now} when elapsed > 0, 30_000)
    end

    test "end with their instance, while a call in flight finishes", %{name: name} do
      start(name, a: [limit: 10, per: :day, law: Fixed])
      pid = controller(name, :a)
      ref = Process.monitor(pid)

      assert {:ok, :done} =
               VSM.run(:a, "u", fn -> stop_supervised!(name) && :done end, instance: name)

      assert_receive {:DOWN, ^ref, _, _, _}, 30_000

      assert_raise ArgumentError, ~r/no instance/, fn ->
        VSM.check_subsystem_limit(:a, "u", instance: name)
      end
    end
  end

  test "calls about stopped subsystems raise one error", %{name: name} do
    start(name, a: [limit: 1, per: :day, law: Fixed])
    table = table(name)
    subsystem = Tree.subsystem!(name, :a)
    stop_supervised!(name)

    for late <- [
          fn -> Table.config(table) end,
          fn -> RateLimiter.VSM.Metrics.all(table) end,
          fn -> RateLimiter.Signals.Bypass.take(subsystem, "u", 1) end,
          fn -> Gate.check(subsystem, "u", 1) end
        ],
        do:
          assert_raise(
            ArgumentError,
            ~r/^no instance is running here: the RateLimiter instance has stopped/,
            late
          )
  end

  describe "concurrent calls" do
    test "never exceed the guard or the limit", %{
      name: name
    } do
      start(name, a: [limit: 400, per: :day, law: Fixed])
      gate = Tree.subsystem!(name, :a).gate
      Gate.set_guard(gate, 5)
      at_work = :atomics.new(2, [])

      work = fn ->
        now = :atomics.add_get(at_work, 1, 1)
        if now > 5, do: :atomics.add(at_work, 2, 1)
        :erlang.yield()
        :atomics.sub(at_work, 1, 1)
      end

      done =
        1..20
        |> Task.async_stream(
          fn _ -> for(_ <- 1..100, do: VSM.run(:a, "u", work, instance: name)) end,
          max_concurrency: 20,
          timeout: :infinity
        )
        |> Enum.flat_map(fn {:ok, answers} -> answers end)

      assert Enum.count(done, &match?({:ok, _}, &1)) <= 400
      assert :atomics.get(at_work, 2) == 0
      assert %{in_flight: 0, asked: 2_000, abandoned: 0} = metrics = VSM.subsystem_metrics(name).a
      assert metrics.usage.current == Enum.count(done, &match?({:ok, _}, &1))
    end
  end

  test "an instance cannot be started twice under one name", %{name: name} do
    start(name, s1: [law: Fixed])
    assert {:error, {:already_started, _}} = RateLimiter.start_link(name: name, vsm: true)
    assert Instance.Reporter.health(nil) == {:error, :not_running}
  end
end
