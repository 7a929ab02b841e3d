defmodule RateLimiter.Redis.HeartbeatTest do
  use RateLimiter.Support.Redis.Case, async: true

  alias RateLimiter.Redis.Heartbeat

  @nodes "rate_limiter:{nodes}"

  # A record is the name of a node and its incarnation, then its share.
  defp nodes(server) do
    for record <- Redis.command!(server, ["ZRANGE", @nodes, "0", "-1"]),
        do: record |> String.split(" ") |> Enum.take(2)
  end

  test "a node is announced as soon as its instance is connected", %{server: server} = context do
    start(context)
    Redis.eventually(fn -> length(nodes(server)) == 1 end)
  end

  test "a node that was forgotten is announced again", %{server: server} = context do
    start(context)
    Redis.eventually(fn -> length(nodes(server)) == 1 end)
    Redis.command!(server, ["DEL", @nodes])
    Redis.eventually(fn -> length(nodes(server)) == 1 end)
  end

  test "a process that takes over after a crash announces the same node",
       %{server: server} = context do
    supervisor = start(context)
    Redis.eventually(fn -> length(nodes(server)) == 1 end)
    announced = nodes(server)
    before = child(supervisor, Heartbeat)
    Process.exit(before, :kill)
    Redis.eventually(fn -> child(supervisor, Heartbeat) not in [before, :restarting] end)
    Redis.command!(server, ["DEL", @nodes])
    Redis.eventually(fn -> nodes(server) == announced end)
  end

  @tag :slow
  test "a node leaves when its instance stops, and two are two", %{server: server} = context do
    start(context)

    other = Module.concat([__MODULE__, Other])
    store = [url: Redis.url(server), timeout: 5_000]
    limiters = [{other, windows: windows()}]
    start_supervised!({RateLimiter, name: other, store: {:redis, store}, limiters: limiters})

    Redis.eventually(fn -> length(nodes(server)) == 2 end)
    before = nodes(server)
    :ok = stop_supervised!(other)
    Redis.eventually(fn -> length(nodes(server)) == 1 end)
    assert [_left] = before -- nodes(server)
  end
end
