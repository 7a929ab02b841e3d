defmodule RateLimiter.Agreement.StatusTest do
  # Nodes that leave the agreement and join again, with their processes and a real server.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually
  import RateLimiter.Support.Team, only: [agreed?: 2, await_steps: 1, hurt_until: 3]

  alias RateLimiter.Instance.Registry
  alias RateLimiter.Support.{Redis, Team}
  alias RateLimiter.Test.Clock

  @moduletag :capture_log
  @moduletag :slow

  setup context do
    %{server: Team.server!(3), name: {__MODULE__, context.test}}
  end

  defp nodes(context, numbers, vsm \\ []) do
    {law, vsm} = Keyword.pop(vsm, :law, Team.direct(context.name))
    subsystems = [a: [limit: 100, per: :second] ++ law]

    for n <- numbers,
        do:
          start_supervised!(
            {Team, {context.server, n, context.name, [subsystems: subsystems] ++ vsm}}
          )
  end

  test "a node that is cut off decides alone, and adopts the others' scale when it is back",
       context do
    # If all nodes were held up for three windows, the lowest scale would win instead, so windows are longer here. The
    # pain that the node brings back cuts the others' scale, too, but slowly by the standard law.
    [one, two, three] = all = nodes(context, 1..3, interval: 500, law: [])
    eventually(fn -> agreed?(all, 3) end)
    Team.cut_off(context.server, 2)
    eventually(fn -> Team.metrics(two).agreement.state == :alone end)
    eventually(fn -> agreed?([one, three], 2) end)

    alone = Enum.find(Team.explain(two), &(&1.action == :alone))
    assert %{agreement: :alone, epoch: nil, from: scale, to: scale} = alone
    assert alone.sentence =~ ~r/^No agreement .* decides alone, from scale 1\.0 of epoch \d+\.$/

    hurt_until(two, 0.85, fn -> Team.metrics(two).scale < 0.5 end)
    assert Enum.all?([one, three], &(Team.metrics(&1).scale == 1.0))
    Enum.each([one, three], &await_steps/1)

    Team.let_back(context.server, 2)
    eventually(fn -> agreed?(all, 3) end)
    eventually(fn -> Team.one_scale?(all) end)
    joined = Enum.find(Team.explain(two), &(&1.action == :join and &1.from < 0.6))
    assert joined.sentence =~ ~r/^Redis is available again: the scale changes from 0\.\d+ to \d/
    assert joined.to > 0.6
  end

  test "a node without Redis from its start decides alone, and joins later", context do
    Team.cut_off(context.server, 1)
    [node] = nodes(context, [1])
    hurt_until(node, 0.7, fn -> Team.metrics(node).scale < 0.7 end)
    assert %{state: :alone, epoch: nil} = Team.metrics(node).agreement
    Team.let_back(context.server, 1)
    eventually(fn -> agreed?([node], 1) end)

    assert Enum.any?(
             Team.explain(node),
             &(&1.sentence =~ "this node, the only one" or &1.action == :join)
           )
  end

  test "an error of Redis is explained once, also if the node was cut off before", context do
    Team.cut_off(context.server, 1)
    [node] = nodes(context, [1])
    eventually(fn -> Enum.any?(Team.explain(node), &(&1.action == :alone)) end)

    Team.let_back(context.server, 1, "-@hash")

    # Up to Redis 7 "can't run this command", since Redis 8 "has no permissions to run the 'hset' command".
    refused =
      &(&1.sentence =~ ~r/Redis replied: .* (can't run this command|no permissions to run)/)

    eventually(fn -> Enum.any?(Team.explain(node), refused) end)
    before = Team.refused(node)
    eventually(fn -> Team.refused(node) > before + 3 end)
    assert [_once] = Enum.filter(Team.explain(node), refused)
  end

  test "a Redis that hangs blocks no controller, and all nodes have one scale after it",
       context do
    [one, two] = all = nodes(context, 1..2, timeout: 300)
    eventually(fn -> agreed?(all, 2) end)
    Redis.freeze(context.server)

    # Each controller answers while its node waits for Redis.
    for node <- all, do: assert(Clock.await({:controller, Team.table(node), :a}) == :ok)
    eventually(fn -> Enum.all?(all, &(Team.metrics(&1).agreement.state == :alone)) end)
    hurt_until(one, 0.85, fn -> Team.metrics(one).scale < 0.6 end)
    assert Team.metrics(two).scale > 0.6

    Redis.thaw(context.server)
    eventually(fn -> agreed?(all, 2) and Team.one_scale?(all) end)
    assert Enum.any?(Team.explain(one), &(&1.action == :join))
    assert Enum.any?(Team.explain(two), &(&1.action == :join))
  end

  test "a controller that crashes resumes from the agreed step", context do
    [one, _two] = all = nodes(context, 1..2)
    eventually(fn -> agreed?(all, 2) end)
    hurt_until(one, 0.8, fn -> Enum.all?(all, &(Team.metrics(&1).scale < 0.7)) end)

    old = Registry.whereis({:controller, Team.table(one), :a})
    :sys.suspend(old)
    before = Team.epoch(one)
    ref = Process.monitor(old)
    Process.exit(old, :kill)
    assert_receive {:DOWN, ^ref, :process, ^old, :killed}, 30_000
    later = Team.epoch(one)
    assert is_integer(later) and later >= before
    await_steps(one)
    eventually(fn -> agreed?(all, 2) and Team.one_scale?(all) end)
  end
end
