defmodule RateLimiter.Support.Ledger.Fault do
  @moduledoc false
  # The faults of a Redis that nodes use.

  alias RateLimiter.Support.Redis
  alias RateLimiter.Support.Redis.{Cluster, Connection, Proxy, Sentinel, Server}

  @enforce_keys [:name, :prepare, :store, :strike]
  defstruct @enforce_keys ++ [bursts: 2, least: 0, around: [], loses: []]

  @typedoc """
  `prepare` starts what is needed, `store` tells the nodes where it is, `strike` makes the fault last for so many
  milliseconds, and returns when it is over. `bursts` is what is promised where some calls were answered without Redis, by
  key and outage, in full buckets or windows. At its beginning the nodes do not know what the others were let through
  since they asked last; at its end Redis does not; and where it has lost data, what the nodes put back, each what it
  heard last, is not all. `least` is the number of outages that count even if every answer came from Redis.

  `loses` is what else a server loses with its data. One that is merely behind has resets and refunds from before, and lacks
  the request ids of the last moments.

  `around` is what happens to nodes: `:restart` restarts one while the fault lasts, `:join` has one join at its beginning.
  """
  @type t :: %__MODULE__{
          name: String.t(),
          prepare: (... -> term),
          store: (term -> keyword),
          strike: (term, pos_integer -> term),
          bursts: pos_integer,
          least: 0..1,
          around: [:restart | :join],
          loses: [:reset | :refunded | :named]
        }

  @often_ms 50
  @all [:reset, :refunded, :named]

  @doc "All of them; the first is none."
  @spec all() :: [t]
  def all do
    [
      one("none", fn _server, ms -> Process.sleep(ms) end),
      %{one("kill -9, restart", &killed/2) | bursts: 3, loses: @all},
      %{one("FLUSHALL", &emptied/2) | bursts: 1, least: 1, loses: @all},
      one("SIGSTOP, SIGCONT", &frozen/2),
      one("SCRIPT FLUSH", fn server, ms ->
        often(ms, fn -> Redis.command!(server, ["SCRIPT", "FLUSH"]) end)
      end),
      one("CLIENT KILL", fn server, ms -> often(ms, fn -> kill_clients(server) end) end),
      one("CLIENT PAUSE", &paused/2),
      one("DEBUG SLEEP", fn server, ms ->
        Server.command!(server, ["DEBUG", "SLEEP", ms / 1_000], ms + 60_000)
      end),
      one("maxmemory reached", &full/2),
      one("NOREPLICAS", fn server, ms -> set(server, "min-replicas-to-write", 1, 0, ms) end),
      %{one("MISCONF", &unsaved/2) | prepare: fn -> Redis.start!(config: [save: "3600 1"]) end},
      %{one("LOADING", &loading/2) | prepare: &slow_to_load/0, bursts: 3, loses: @all},
      one("max clients", &crowded/2),
      %__MODULE__{
        name: "rights removed",
        prepare: &guarded/0,
        store: &[url: Redis.url(&1), username: "limiter", password: "first"],
        strike: &disallowed/2
      },
      %__MODULE__{
        name: "30 ms away",
        prepare: &reached_by_proxy/0,
        store: fn {_server, proxy} -> [url: "redis://127.0.0.1:#{proxy.port}"] end,
        strike: fn {_server, proxy}, ms -> far(proxy, ms) end
      },
      %{one("restart in an outage", &frozen/2) | around: [:restart], bursts: 3},
      %{one("join before an outage", &frozen/2) | around: [:join]},
      %__MODULE__{
        name: "planned failover",
        prepare: &Redis.start_sentinel!/0,
        store: &[sentinels: ["127.0.0.1:#{&1.sentinel.port}"], group: &1.group],
        strike: fn sentinels, _ms -> Sentinel.promote!(sentinels) end,
        bursts: 3,
        least: 1,
        loses: [:named]
      },
      %__MODULE__{
        name: "replica promoted",
        prepare: &Redis.start_sentinel!/0,
        store: &[sentinels: ["127.0.0.1:#{&1.sentinel.port}"], group: &1.group],
        strike: fn sentinels, _ms -> Sentinel.lose_primary!(sentinels) end,
        bursts: 3,
        loses: [:named]
      },
      %__MODULE__{
        name: "slot moved",
        prepare: &Redis.start_cluster!/0,
        store: fn cluster ->
          [cluster: for(node <- cluster.nodes, do: "127.0.0.1:#{node.port}")]
        end,
        strike: &moved/2
      },
      %__MODULE__{
        name: "CLUSTERDOWN",
        prepare: &Redis.start_cluster!/0,
        store: fn cluster ->
          [cluster: for(node <- cluster.nodes, do: "127.0.0.1:#{node.port}")]
        end,
        strike: &down/2
      },
      %__MODULE__{
        name: "password changed",
        prepare: &guarded/0,
        store: &[url: Redis.url(&1), username: "limiter", password: {:file, secret(&1)}],
        strike: &locked_out/2
      }
    ]
  end

  @doc "Those of these names."
  @spec named([String.t()]) :: [t]
  def named(names), do: for(fault <- all(), fault.name in names, do: fault)

  defp one(name, strike) do
    %__MODULE__{
      name: name,
      prepare: &Redis.start!/0,
      store: &[url: Redis.url(&1)],
      strike: strike
    }
  end

  defp killed(server, ms) do
    Redis.kill(server)
    Process.sleep(ms)
    Redis.restart!(server)
  end

  defp emptied(server, ms) do
    Redis.command!(server, ["FLUSHALL"])
    Process.sleep(ms)
  end

  defp frozen(server, ms) do
    Redis.freeze(server)
    Process.sleep(ms)
    Redis.thaw(server)
  end

  # Ours comes through the socket, and ends with its command.
  defp kill_clients(server), do: Redis.command(server, ["CLIENT", "KILL", "TYPE", "normal"])

  defp paused(server, ms) do
    Redis.command!(server, ["CLIENT", "PAUSE", ms, "ALL"])
    Process.sleep(ms)
  end

  defp full(server, ms), do: set(server, "maxmemory", 1, 0, ms)

  defp set(server, name, value, before, ms) do
    Redis.command!(server, ["CONFIG", "SET", name, value])
    Process.sleep(ms)
    Redis.command!(server, ["CONFIG", "SET", name, before])
  end

  # A folder that is not empty is in the way of its file.
  defp unsaved(server, ms) do
    folder = Path.join(server.directory, "dump.rdb")
    File.mkdir_p!(Path.join(folder, "in the way"))
    save(server, "err")
    Process.sleep(ms)
    File.rm_rf!(folder)
    save(server, "ok")
  end

  defp save(server, status) do
    Redis.command!(server, ["BGSAVE"])
    Redis.eventually(fn -> Redis.info(server, "rdb_last_bgsave_status") == status end)
  end

  # It loads a hundred keys, and replies in between.
  defp slow_to_load do
    slow = ["key-load-delay": 20_000, "loading-process-events-interval-bytes": 1_024]
    server = Redis.start!(config: slow)
    Redis.command!(server, ["DEBUG", "POPULATE", 100])
    Redis.command!(server, ["SAVE"])
    server
  end

  defp loading(server, _ms) do
    Redis.kill(server)
    Redis.restart!(server)
  end

  # Our own connection is the only one that is left.
  defp crowded(server, ms) do
    {:ok, ours} = Connection.open(Server.socket(server), nil, 5_000)
    {:ok, "OK"} = Connection.ask(ours, ["CONFIG", "SET", "maxclients", 1], 5_000)
    {:ok, _killed} = Connection.ask(ours, ["CLIENT", "KILL", "TYPE", "normal"], 5_000)
    Process.sleep(ms)
    {:ok, "OK"} = Connection.ask(ours, ["CONFIG", "SET", "maxclients", 10_000], 5_000)
    Connection.close(ours)
  end

  defp disallowed(server, ms) do
    Redis.command!(server, ["ACL", "SETUSER", "limiter", "-@all"])
    Process.sleep(ms)
    Redis.command!(server, ["ACL", "SETUSER", "limiter", "+@all"])
  end

  defp reached_by_proxy do
    server = Redis.start!()
    {server, Proxy.start!(server.port, 0)}
  end

  defp far(proxy, ms) do
    Proxy.delay(proxy, 30)
    Process.sleep(ms)
    Proxy.delay(proxy, 0)
  end

  # No node owns a slot.
  defp down(cluster, ms) do
    ranges = Cluster.primaries(cluster)
    for {node, range} <- ranges, do: slots(node, "DELSLOTSRANGE", range)
    Process.sleep(ms)
    for {node, range} <- ranges, do: slots(node, "ADDSLOTSRANGE", range)
  end

  defp slots(node, command, from..to//_),
    do: "OK" = Redis.command!(node, ["CLUSTER", command, from, to])

  # The slots of all keys that are there, one after the other, in steps, so that calls come while they are half moved.
  defp moved(cluster, ms) do
    slots =
      for node <- Enum.take(cluster.nodes, 3),
          key <- Redis.keys(node),
          do: Cluster.slot(cluster, key)

    slots = Enum.uniq(slots)
    step = div(ms, 2 * max(1, length(slots)))

    for slot <- slots do
      {from, to} = Cluster.begin_move!(cluster, slot)
      Process.sleep(step)
      Cluster.move_keys!(slot, from, to)
      Process.sleep(step)
      Cluster.finish_move!(cluster, slot, from, to)
    end
  end

  defp guarded do
    server = Redis.start!(config: [user: "limiter on >first ~* &* +@all"])
    File.write!(secret(server), "first")
    server
  end

  defp locked_out(server, ms) do
    Redis.command!(server, ["ACL", "SETUSER", "limiter", "resetpass", ">second"])
    kill_clients(server)
    Process.sleep(ms)
    File.write!(secret(server), "second")
  end

  defp secret(server), do: Path.join(server.directory, "password")

  defp often(ms, act) do
    for _time <- 1..div(ms, @often_ms) do
      act.()
      Process.sleep(@often_ms)
    end
  end
end
