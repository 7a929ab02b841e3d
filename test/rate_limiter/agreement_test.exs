defmodule RateLimiter.VSM.AgreementTest do
  # Nodes that agree, with their processes and a real server.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Redis, only: [eventually: 1]

  alias RateLimiter.{Agreement, Algedonic}
  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Support.{Redis, ScriptedLaw, Team}
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.{Gate, Subsystem, Table}

  @moduletag :capture_log

  setup context do
    %{server: Team.server!(4), name: {__MODULE__, context.test}}
  end

  defp nodes(context, numbers, own \\ [], vsm \\ []),
    do: for(n <- numbers, do: node(context, n, own, vsm))

  defp node(context, number, own, vsm \\ []) do
    vsm = [subsystems: [a: [limit: 100, per: :second] ++ own]] ++ vsm
    start_supervised!({Team, {context.server, number, context.name, vsm}})
  end

  defp scripted(key), do: [law: ScriptedLaw.options(self(), key: key)]

  defp subsystem(node), do: node |> Team.space() |> Table.subsystem(:a)
  defp hurt(node, level), do: Algedonic.report(subsystem(node), :pain, :probe, level, "a test")

  # While something hurts, until the condition holds.
  defp hurt_until(node, level, condition) do
    eventually(fn ->
      hurt(node, level)
      condition.()
    end)
  end

  defp agreed?(nodes, count) do
    Enum.all?(nodes, &match?(%{state: :agreed, nodes: ^count}, Team.metrics(&1).agreement))
  end

  defp epoch(node), do: Team.metrics(node).agreement.epoch

  # One that is held up for a window cuts alone.
  defp agreed_cut(node),
    do: Enum.find(Team.explain(node), &(&1.action == :cut and &1.agreement == :agreed))

  defp one_scale?(nodes),
    do: match?([_], nodes |> Enum.map(&Team.metrics(&1).scale) |> Enum.uniq())

  defp goes_on(node) do
    # One that begins while it is held up has none yet.
    eventually(fn -> is_integer(epoch(node)) end)
    before = epoch(node)
    eventually(fn -> epoch(node) > before + 3 end)
  end

  # What is agreed, and for which window: read at once.
  defp agreed(context) do
    [key] = Redis.command!(context.server, ["KEYS", "*:agreed"])
    numbers = Redis.command!(context.server, ["HMGET", key, "epoch", "window"])
    Enum.map(numbers, &String.to_integer/1)
  end

  test "the scale is one, whoever sees what hurts, and each node can say who reckoned it",
       context do
    [one, two, three] = all = nodes(context, 1..3)
    eventually(fn -> agreed?(all, 3) end)

    hurt_until(two, 0.8, fn -> Enum.all?(all, &(Team.metrics(&1).scale < 0.7)) end)
    hurt_until(two, 0.8, fn -> Enum.all?(all, &agreed_cut/1) end)
    eventually(fn -> one_scale?(all) end)

    for node <- [one, two, three] do
      assert %{epoch: epoch, sentence: sentence} = agreed_cut(node)
      assert sentence =~ ":probe"

      assert sentence =~
               ~r/\d nodes? agreed on it in epoch #{epoch}, computed by (this node|node \d)\.$/
    end

    assert %{by: "node " <> _, epoch: epoch} = Team.metrics(one).agreement
    assert is_integer(epoch)
  end

  test "there is one step a window at most, and it goes on when a node is killed", context do
    [one, two, three] = all = nodes(context, 1..3)
    eventually(fn -> agreed?(all, 3) end)
    [epoch, window] = agreed(context)

    Process.unlink(three)
    Process.exit(three, :kill)
    eventually(fn -> agreed?([one, two], 2) end)
    Enum.each([one, two], &goes_on/1)

    [later, last] = agreed(context)
    assert later - epoch <= last - window
    assert later > epoch
  end

  test "what all saw is what the law is shown", context do
    [one, two] = all = nodes(context, 1..2, scripted(context.name))
    eventually(fn -> agreed?(all, 2) end)

    # What was brought before all were silent for some windows, as nodes are that are held up, is told to nobody.
    eventually(fn ->
      for _ <- 1..30, do: Gate.record(subsystem(one).gate, :ok, 1_000)
      for _ <- 1..20, do: Gate.record(subsystem(two).gate, :error, 1_000)
      seen?(context.name, {0, 0}, 20)
    end)
  end

  # Of work that was done on two nodes, a step on any: in so many steps.
  defp seen?(_key, {ok, errors}, _steps) when ok >= 30 and errors >= 20, do: true
  defp seen?(_key, _work, 0), do: false

  defp seen?(key, {ok, errors}, steps) do
    assert_receive {:step, ^key, %{fresh: work, limit: limit}, _now_ms}, 30_000
    assert limit in [100.0, 200.0]
    # One that is held up steps alone.
    work = if limit == 200.0, do: work, else: %{ok: 0, errors: 0}
    seen?(key, {ok + work.ok, errors + work.errors}, steps - 1)
  end

  test "a guard for all is divided by those who are there, and each keeps one place", context do
    ScriptedLaw.say(context.name, %Decision{scale: 0.5, guard: 10})
    [one, two, three] = all = nodes(context, 1..3, scripted(context.name))
    eventually(fn -> Enum.all?(all, &(Team.metrics(&1).guard == 3)) end)

    Process.unlink(three)
    Process.exit(three, :kill)
    eventually(fn -> Enum.all?([one, two], &(Team.metrics(&1).guard == 5)) end)

    ScriptedLaw.say(context.name, %Decision{scale: 0.5, guard: 1})
    eventually(fn -> Enum.all?([one, two], &(Team.metrics(&1).guard == 1)) end)
  end

  describe "a node that is cut off" do
    test "steps alone from the last scale, and takes up what the others agreed on when it is back",
         context do
      # Long windows: where all are held up for some, nobody has gone on, and the lowest scale is what they begin with.
      [one, two, three] = all = nodes(context, 1..3, [], interval: 1_000)
      eventually(fn -> agreed?(all, 3) end)
      Team.cut_off(context.server, 2)
      eventually(fn -> Team.metrics(two).agreement.state == :alone end)
      eventually(fn -> agreed?([one, three], 2) end)

      alone = Enum.find(Team.explain(two), &(&1.action == :alone))
      assert %{agreement: :alone, epoch: nil, from: scale, to: scale} = alone
      assert alone.sentence =~ ~r/decides alone, from scale 1\.0 of epoch \d+/

      # It goes by what it sees itself, the others by what they see.
      hurt_until(two, 0.85, fn -> Team.metrics(two).scale < 0.5 end)
      assert Enum.all?([one, three], &(Team.metrics(&1).scale == 1.0))
      Enum.each([one, three], &goes_on/1)

      Team.let_back(context.server, 2)
      eventually(fn -> agreed?(all, 3) end)
      eventually(fn -> one_scale?(all) end)
      joined = Enum.find(Team.explain(two), &(&1.action == :join and &1.from < 0.6))
      assert joined.sentence =~ ~r/^Redis is available again: the scale changes from 0\.\d+ to \d/
      assert joined.to > 0.6
    end

    test "from the beginning has the law go on all the same, and joins later", context do
      Team.cut_off(context.server, 1)
      node = node(context, 1, [])
      hurt_until(node, 0.7, fn -> Team.metrics(node).scale < 0.7 end)
      assert %{state: :alone, epoch: nil} = Team.metrics(node).agreement
      Team.let_back(context.server, 1)
      eventually(fn -> agreed?([node], 1) end)

      assert Enum.any?(
               Team.explain(node),
               &(&1.sentence =~ "this node, the only one" or &1.action == :join)
             )
    end

    test "and then refused is told what to change, once", context do
      Team.cut_off(context.server, 1)
      node = node(context, 1, [])
      eventually(fn -> Enum.any?(Team.explain(node), &(&1.action == :alone)) end)

      Team.let_back(context.server, 1, "-@hash")
      refused = &(&1.sentence =~ ~r/Redis replied: .* can't run this command/)
      eventually(fn -> Enum.any?(Team.explain(node), refused) end)
      before = Team.refused(node)
      eventually(fn -> Team.refused(node) > before + 3 end)
      assert [_once] = Enum.filter(Team.explain(node), refused)
    end
  end

  test "a Redis that hangs holds up nobody, and when it is back there is one scale again",
       context do
    [one, two] = all = nodes(context, 1..2, [], timeout: 300)
    eventually(fn -> agreed?(all, 2) end)
    Redis.freeze(context.server)

    # These ask the process, and it answers while it waits.
    for node <- all, do: assert(Clock.await({:controller, Team.space(node), :a}) == :ok)
    eventually(fn -> Enum.all?(all, &(Team.metrics(&1).agreement.state == :alone)) end)
    hurt_until(one, 0.85, fn -> Team.metrics(one).scale < 0.6 end)
    assert Team.metrics(two).scale > 0.6

    Redis.thaw(context.server)
    eventually(fn -> agreed?(all, 2) and one_scale?(all) end)
    assert Enum.any?(Team.explain(one), &(&1.action == :join))
    assert Enum.any?(Team.explain(two), &(&1.action == :join))
  end

  test "pain that cannot wait has a step taken for all at once", context do
    # Windows in which nothing would happen in this test's time.
    vsm = [interval: 60_000]
    [one, two] = nodes(context, 1..2, [], vsm)
    eventually(fn -> Team.connected?(one) and Team.connected?(two) end)
    hurt(one, 1.0)
    eventually(fn -> Team.metrics(one).scale < 1.0 end)
    # The scale is put on the limit before it is told whose it is.
    Clock.await({:controller, Team.space(one), :a})
    assert %{agreement: %{state: :agreed, epoch: 1}} = Team.metrics(one)
  end

  test "what is not the same agrees each with its own", context do
    [one, two] = nodes(context, 1..2)
    three = node(context, 3, floor: 0.5)
    eventually(fn -> agreed?([one, two], 2) and agreed?([three], 1) end)
    hurt_until(one, 0.8, fn -> Enum.all?([one, two], &(Team.metrics(&1).scale < 0.5)) end)
    assert Team.metrics(three).scale == 1.0
  end

  test "a dry run agrees, and puts nothing on the limit", context do
    [one, two] = all = nodes(context, 1..2, dry_run: true)
    eventually(fn -> agreed?(all, 2) end)
    hurt_until(one, 0.8, fn -> Team.metrics(two).asked_scale < 0.7 end)
    assert Enum.map(all, &Team.metrics(&1).scale) == [1.0, 1.0]
  end

  test "a controller that crashes knows what was agreed", context do
    [one, two] = all = nodes(context, 1..2)
    eventually(fn -> agreed?(all, 2) end)
    hurt_until(one, 0.8, fn -> Enum.all?(all, &(Team.metrics(&1).scale < 0.7)) end)

    old = Registry.whereis({:controller, Team.space(one), :a})
    :sys.suspend(old)
    before = epoch(one)
    ref = Process.monitor(old)
    Process.exit(old, :kill)
    assert_receive {:DOWN, ^ref, :process, ^old, :killed}, 30_000
    later = epoch(one)
    assert is_integer(later) and later >= before
    goes_on(one)
    eventually(fn -> agreed?(all, 2) and one_scale?([one, two]) end)
  end

  test "a law that fails begins again from the scale that is agreed, for all", context do
    failing = fn
      %{scale: 0.5, steps: steps}, _observation when steps > 3 -> raise "does not go on"
      _state, _observation -> %Decision{scale: 0.5}
    end

    ScriptedLaw.say(context.name, failing)
    [one, two] = nodes(context, 1..2, scripted(context.name))
    failed? = fn node -> Enum.any?(Team.explain(node), &(&1.held_by == :law_failed)) end
    eventually(fn -> failed?.(one) or failed?.(two) end)
    for node <- [one, two], do: goes_on(node)
    assert Enum.all?([one, two], &(Team.metrics(&1).scale == 0.5))
  end

  test "where nothing is to be agreed there is no word of it" do
    RateLimiter.Test.start(vsm: [subsystems: [a: [limit: 1, per: :second]]])
    assert %{a: %{agreement: nil}} = RateLimiter.VSM.subsystem_metrics()
  end

  describe "keys" do
    defp keys(instance, name) do
      agreement = %Agreement{store: 0, prefix: "p", instance: instance, node: "n", label: "l"}
      Agreement.keys(agreement, name, "g")
    end

    test "are named after instance and subsystem, where people can read these" do
      assert keys(:shop, :s1) ==
               for(what <- ~w(nodes g:agreed g:open g:closed), do: "p:{!vsm:shop:s1}:#{what}")
    end

    test "of other instances and subsystems are others, whatever they are called" do
      names = [:a, :b, :"a:b", :"}", {:a, 1}, "a", nil, :"~a", :"a b"]
      all = for instance <- names, name <- [:a, :"{x}", :"a:b"], do: keys(instance, name)
      assert length(Enum.uniq(all)) == length(all)
      for key <- List.flatten(all), do: assert(key =~ ~r/\Ap:\{!vsm:[^{}\s]+\}:[a-z:]+\z/)
    end
  end

  test "a part of a guard" do
    assert for(nodes <- 1..4, do: RateLimiter.VSM.Scales.part(10, nodes)) == [10, 5, 3, 2]
    assert RateLimiter.VSM.Scales.part(3, 8) == 1
    assert RateLimiter.VSM.Scales.part(:infinity, 8) == :infinity
  end

  test "a scale is put on the limit that calls meet", context do
    ScriptedLaw.say(context.name, %Decision{scale: 0.5})
    [node] = nodes(context, [1], scripted(context.name))
    eventually(fn -> Gate.scale(subsystem(node).limiter) == 0.5 end)
    assert Subsystem.scale(subsystem(node)) == 0.5
  end
end
