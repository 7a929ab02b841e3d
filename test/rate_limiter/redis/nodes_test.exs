defmodule RateLimiter.Redis.NodesTest do
  # Real nodes, which need the machine for themselves.
  use ExUnit.Case, async: false

  @moduletag :slow

  alias RateLimiter.Support.{Nodes, Redis}
  alias RateLimiter.Support.Nodes.Guest

  test "nodes share a limit exactly and know their number" do
    server = Redis.start!()

    instance = [
      store: {:redis, url: Redis.url(server), timeout: 10_000},
      stats_interval: :infinity,
      limiters: [
        shared: [
          windows: [
            bucket: [limit: 1, burst: 500, per: {30, :day}],
            window: [algorithm: :sliding_window, limit: 400, per: {30, :day}]
          ],
          events: :none
        ]
      ]
    ]

    [one, other] = nodes = Nodes.start!(2)

    for node <- nodes,
        do: :ok = Nodes.call(node, Guest, :serve, [instance, :shared, :bucket], 180_000)

    for {window, limit} <- [bucket: 500, window: 400] do
      # One after the other, then concurrently.
      for node <- nodes, do: assert(admitted(node, window, 1, 50) == 50)

      raced =
        nodes
        |> Enum.map(fn node -> Task.async(fn -> admitted(node, window, 8, 100) end) end)
        |> Task.await_many(60_000)

      assert Enum.sum(raced) == limit - 100
    end

    Redis.eventually(fn -> Enum.map(nodes, &Nodes.call(&1, Guest, :nodes, [])) == [2, 2] end)
    :ok = Nodes.call(other, Guest, :leave, [])
    Redis.eventually(fn -> Nodes.call(one, Guest, :nodes, []) == 1 end)
  end

  test "shares stay within the limit when nodes join just before an outage, and restart in it" do
    server = Redis.start!()
    old = Nodes.start!(2)
    new = Nodes.start!(2)
    serve!(old, server)
    Redis.eventually(fn -> Enum.map(old, &Nodes.call(&1, Guest, :nodes, [])) == [2, 2] end)

    serve!(new, server)
    Redis.kill(server)
    assert admitted_anyhow(old ++ new) <= 1_000

    # Two of them restart without having heard of the others.
    [crashed, other] = old
    Enum.each([crashed, other], &Nodes.kill/1)
    restarted = Nodes.start!(2)

    for node <- restarted,
        do: :ok = Nodes.call(node, Guest, :serve_alone, [instance(server, nodes: 4)])

    assert admitted_anyhow(restarted) <= 500
  end

  test "a node that crashed gives its share to the others" do
    server = Redis.start!()
    [survivor | crashed] = nodes = Nodes.start!(3)
    serve!(nodes, server)
    Redis.eventually(fn -> Enum.map(nodes, &Nodes.call(&1, Guest, :nodes, [])) == [3, 3, 3] end)
    Enum.each(crashed, &Nodes.kill/1)
    # The record of the survivor, once it uses the whole limit.
    records = fn -> Redis.command!(server, ["ZRANGE", "rate_limiter:{nodes}", "0", "-1"]) end
    Redis.eventually(fn -> match?([_], records.()) and hd(records.()) =~ ~r/ 1 0\z/ end)
    Redis.kill(server)
    assert admitted_anyhow([survivor]) == 1_000
  end

  defp instance(server, store \\ []) do
    [
      store: {:redis, Keyword.merge([url: Redis.url(server), timeout: 5_000], store)},
      stats_interval: :infinity,
      limiters: [shared: [windows: [day: [limit: 1_000, per: {30, :day}]], events: :none]]
    ]
  end

  defp serve!(nodes, server) do
    for node <- nodes,
        do: :ok = Nodes.call(node, Guest, :serve, [instance(server), :shared, :day], 180_000)
  end

  defp admitted_anyhow(nodes) do
    nodes
    |> Enum.map(&Nodes.call(&1, Guest, :admitted_anyhow, [:shared, :day, 1_100]))
    |> Enum.sum()
  end

  defp admitted(node, window, processes, calls),
    do: Nodes.call(node, Guest, :admitted, [:shared, window, processes, calls], 60_000)
end
