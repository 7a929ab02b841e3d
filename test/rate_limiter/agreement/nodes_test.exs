defmodule RateLimiter.Agreement.NodesTest do
  # Real nodes, which need the machine for themselves.
  use ExUnit.Case, async: false

  import RateLimiter.Support.Eventually

  alias RateLimiter.{Algedonic, VSM}
  alias RateLimiter.Support.{Nodes, Redis, Team}
  alias RateLimiter.Support.Nodes.Guest

  @moduletag :slow

  @quiet [schedulers: false, run_queue: false, timer: false, memory: false]

  defp instance(server, number) do
    [
      store:
        {:redis,
         url: Redis.url(server), username: "node#{number}", password: "secret", timeout: 5_000},
      limiters: [door: [windows: [w: [limit: 10, per: :second]]]],
      vsm: [subsystems: [work: [limit: 100, per: :second]], interval: 500, sensors: @quiet]
    ]
  end

  defp serve(server, nodes) do
    for {node, number} <- Enum.with_index(nodes, 1),
        do: :ok = Nodes.call(node, Guest, :serve, [instance(server, number), :door, :w], 180_000)
  end

  defp work(node), do: Nodes.call(node, VSM, :subsystem_metrics, [], 20_000).work
  defp explain(node), do: Nodes.call(node, VSM, :explain, [:work], 20_000)

  # A node that is held up for a window cuts alone.
  defp agreed_cut(node),
    do: Enum.find(explain(node), &(&1.action == :cut and &1.agreement == :agreed))

  defp agreed?(nodes, count),
    do: Enum.all?(nodes, &match?(%{agreement: %{state: :agreed, nodes: ^count}}, work(&1)))

  defp one_scale?(nodes), do: match?([_one], nodes |> Enum.map(&work(&1).scale) |> Enum.uniq())

  defp hurt_until(node, condition) do
    eventually(fn ->
      Nodes.call(node, Algedonic, :pain, [:work, 0.85, [source: :probe]], 20_000)
      condition.()
    end)
  end

  # The agreed epoch and its window, read at once.
  defp agreed(server) do
    [key] = Redis.command!(server, ["KEYS", "*:agreed"])

    server
    |> Redis.command!(["HMGET", key, "epoch", "window"])
    |> Enum.map(&String.to_integer/1)
  end

  test "three nodes agree on one scale, also after one was killed and after one was cut off" do
    server = Team.server!(3)
    [one, two, three] = nodes = Nodes.start!(3)
    serve(server, nodes)
    eventually(fn -> agreed?(nodes, 3) end)
    [epoch, window] = agreed(server)

    # Pain on one node cuts the scale of all.
    hurt_until(two, fn -> Enum.all?(nodes, &(work(&1).scale < 0.8)) end)
    hurt_until(two, fn -> Enum.all?(nodes, &agreed_cut/1) end)
    eventually(fn -> one_scale?(nodes) end)

    for node <- nodes do
      cut = agreed_cut(node)
      assert cut.sentence =~ ~r/:probe.* agreed on it in epoch \d+, computed by /
    end

    # One is killed: the others take one step per window, and know that they are two.
    Nodes.kill(three)
    eventually(fn -> agreed?([one, two], 2) end)
    before = work(one).agreement.epoch
    eventually(fn -> work(one).agreement.epoch > before + 2 end)
    [later, last] = agreed(server)
    assert later > epoch and later - epoch <= last - window

    # One is cut off: it decides alone, and so does the other.
    Team.cut_off(server, 2)
    eventually(fn -> work(two).agreement.state == :alone end)
    eventually(fn -> agreed?([one], 1) end)
    assert Enum.any?(explain(two), &(&1.action == :alone and &1.agreement == :alone))

    # It is back and adopts the agreed step.
    Team.let_back(server, 2)
    eventually(fn -> agreed?([one, two], 2) and one_scale?([one, two]) end)

    assert Enum.any?(
             explain(two),
             &(&1.action == :join and &1.sentence =~ "Redis is available again")
           )
  end
end
