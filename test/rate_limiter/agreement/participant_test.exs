defmodule RateLimiter.Agreement.ParticipantTest do
  # Steps that nodes take for each other, with their processes and a real server.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually
  import RateLimiter.Support.Team, only: [agreed?: 2, await_steps: 1, hurt_until: 3]

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Support.{Redis, ScriptedLaw, Team}
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.{Gate, Subsystem}

  @moduletag :capture_log
  @moduletag :slow

  setup context do
    %{server: Team.server!(4), name: {__MODULE__, context.test}}
  end

  defp nodes(context, numbers, options \\ [], vsm \\ []),
    do: for(n <- numbers, do: node(context, n, options, vsm))

  defp node(context, number, options, vsm \\ []) do
    vsm = [subsystems: [a: [limit: 100, per: :second] ++ options]] ++ vsm
    start_supervised!({Team, {context.server, number, context.name, vsm}})
  end

  defp scripted(context), do: [law: ScriptedLaw.options(self(), key: context.name)]

  test "pain on one node cuts the scale of all nodes, and each explains who computed the step",
       context do
    [_one, two, _three] = all = nodes(context, 1..3)
    eventually(fn -> agreed?(all, 3) end)

    hurt_until(two, 0.85, fn -> Enum.all?(all, &Team.agreed_cut/1) end)
    eventually(fn -> Team.one_scale?(all) end)

    for node <- all do
      assert %{epoch: epoch, sentence: sentence} = Team.agreed_cut(node)
      assert sentence =~ ":probe"

      assert sentence =~
               ~r/\d nodes? agreed on it in epoch #{epoch}, computed by (this node|node \d)\.$/

      assert %{by: "node " <> _, epoch: epoch} = Team.metrics(node).agreement
      assert is_integer(epoch)
    end
  end

  test "nodes take at most one step per window, also after one of them is killed", context do
    [one, two, three] = all = nodes(context, 1..3, Team.direct(context.name))
    eventually(fn -> agreed?(all, 3) end)
    [epoch, window] = Team.agreed(context.server)

    Process.unlink(three)
    Process.exit(three, :kill)
    eventually(fn -> agreed?([one, two], 2) end)
    Enum.each([one, two], &await_steps/1)

    [later, last] = Team.agreed(context.server)
    assert later - epoch <= last - window
    assert later > epoch
  end

  test "a law gets the sum of all nodes' work and limits", context do
    [one, two] = all = nodes(context, 1..2, scripted(context))
    eventually(fn -> agreed?(all, 2) end)

    # Contributions from before all nodes were held up for some windows are dropped, so they are repeated.
    eventually(fn ->
      for _ <- 1..30, do: Gate.record(Team.subsystem(one).gate, :ok, 1_000)
      for _ <- 1..20, do: Gate.record(Team.subsystem(two).gate, :error, 1_000)
      observed?(context.name, {0, 0}, 20)
    end)
  end

  defp observed?(_key, {ok, errors}, _steps) when ok >= 30 and errors >= 20, do: true
  defp observed?(_key, _work, 0), do: false

  defp observed?(key, {ok, errors}, steps) do
    assert_receive {:step, ^key, %{fresh: work, limit: limit}, _now_ms}, 30_000
    assert limit in [100.0, 200.0]
    # A node that is held up steps alone.
    work = if limit == 200.0, do: work, else: %{ok: 0, errors: 0}
    observed?(key, {ok + work.ok, errors + work.errors}, steps - 1)
  end

  test "a lone node at which nothing happens meets in one window of ten, until something does or another joins",
       context do
    one = node(context, 1, Team.direct(context.name))
    eventually(fn -> agreed?([one], 1) end)

    # In ten windows it would meet and step ten times.
    eventually(fn ->
      before = meetings(context.server)
      Process.sleep(10 * 250)
      meetings(context.server) - before < 10
    end)

    hurt_until(one, 0.8, fn -> Team.metrics(one).scale < 0.5 end)
    eventually(fn -> Team.metrics(one).scale == 1.0 end)
    two = node(context, 2, Team.direct(context.name))
    eventually(fn -> agreed?([one, two], 2) end)
  end

  defp meetings(server) do
    [_line, calls] = Regex.run(~r/calls=(\d+)/, Redis.info(server, "cmdstat_eval"))
    String.to_integer(calls)
  end

  test "the guard is divided by the live nodes, with at least 1 for each", context do
    ScriptedLaw.say(context.name, %Decision{scale: 0.5, guard: 10})
    [one, two, three] = all = nodes(context, 1..3, scripted(context))
    eventually(fn -> Enum.all?(all, &(Team.metrics(&1).guard == 3)) end)
    assert Gate.scale(Team.subsystem(one).limiter) == 0.5
    assert Subsystem.scale(Team.subsystem(one)) == 0.5

    Process.unlink(three)
    Process.exit(three, :kill)
    eventually(fn -> Enum.all?([one, two], &(Team.metrics(&1).guard == 5)) end)

    ScriptedLaw.say(context.name, %Decision{scale: 0.5, guard: 1})
    eventually(fn -> Enum.all?([one, two], &(Team.metrics(&1).guard == 1)) end)
  end

  test "urgent pain has a step taken for all nodes before the end of the window", context do
    # A window longer than this test.
    [one, two] = nodes(context, 1..2, [], interval: 60_000)
    eventually(fn -> Team.connected?(one) and Team.connected?(two) end)
    Team.hurt(one, 1.0)
    eventually(fn -> Team.metrics(one).scale < 1.0 end)
    # The scale is applied before the agreement is saved.
    Clock.await({:controller, Team.table(one), :a})
    assert %{agreement: %{state: :agreed, epoch: 1}} = Team.metrics(one)
  end

  test "nodes with different options agree separately", context do
    [one, two] = nodes(context, 1..2, Team.direct(context.name))
    three = node(context, 3, [floor: 0.05] ++ Team.direct(context.name))
    eventually(fn -> agreed?([one, two], 2) and agreed?([three], 1) end)
    hurt_until(one, 0.8, fn -> Enum.all?([one, two], &(Team.metrics(&1).scale < 0.5)) end)
    assert Team.metrics(three).scale == 1.0
  end

  test "nodes agree in a dry run without applying the scale", context do
    [one, two] = all = nodes(context, 1..2, [dry_run: true] ++ Team.direct(context.name))
    eventually(fn -> agreed?(all, 2) end)
    hurt_until(one, 0.8, fn -> Team.metrics(two).asked_scale < 0.7 end)
    assert Enum.map(all, &Team.metrics(&1).scale) == [1.0, 1.0]
  end

  test "a law that fails restarts from the agreed scale for all nodes", context do
    failing = fn
      %{scale: 0.5, steps: steps}, _observation when steps > 3 -> raise "a bug in the law"
      _state, _observation -> %Decision{scale: 0.5}
    end

    ScriptedLaw.say(context.name, failing)
    [one, two] = nodes(context, 1..2, scripted(context))
    failed? = fn node -> Enum.any?(Team.explain(node), &(&1.held_by == :law_failed)) end
    eventually(fn -> failed?.(one) or failed?.(two) end)
    for node <- [one, two], do: await_steps(node)
    assert Enum.all?([one, two], &(Team.metrics(&1).scale == 0.5))
  end
end
