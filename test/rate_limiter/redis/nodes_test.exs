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

  defp admitted(node, window, processes, calls),
    do: Nodes.call(node, Guest, :admitted, [:shared, window, processes, calls], 60_000)
end
