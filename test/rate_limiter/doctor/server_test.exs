defmodule RateLimiter.Doctor.ServerTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Doctor.Server
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.Client
  alias RateLimiter.Support.Redis

  # The client of an instance on this server, connected.
  defp client(server, options \\ []) do
    name = {__MODULE__, server.port}
    store = [url: Redis.url(server), timeout: 30_000] ++ options
    start_supervised!({RateLimiter, name: name, store: {:redis, store}})
    %{store: {:redis, store}} = Registry.fetch!(name)
    eventually(fn -> match?(%{servers: [%{connections: 1}]}, Client.status(store)) end)
    store
  end

  describe "check/2" do
    test "has the version and the eviction of the server" do
      server = Redis.start!(config: [maxmemory: "100mb", "maxmemory-policy": "volatile-ttl"])
      checked = Server.check(client(server), "any key")
      assert [{:ok, "version", version, nil}, memory, replicas, clock] = checked
      assert replicas == {:ok, "replicas", "none", nil}

      assert {:ok, "clock", "that of Redis and that of this node agree within 2000 ms", nil} =
               clock

      assert version =~ ~r/^(Redis|Valkey) \d+\.\d+\.\d+$/
      assert {:warning, "memory", "maxmemory 104857600, volatile-ttl: " <> _, _advice} = memory
    end

    test "warns with the reply of a server that does not show its INFO" do
      rights = "limiter on >secret ~* &* +@all -info"

      store =
        client(Redis.start!(config: [user: rights]), username: "limiter", password: "secret")

      assert [{:warning, "memory", result, "grant its user +info, " <> _}] =
               Server.check(store, "k")

      assert result =~ ~r/^cannot read whether Redis evicts keys when it is full: .*permission/
    end

    test "warns with the reason if no server is asked" do
      server = Redis.start!()
      store = client(server)
      Redis.kill(server)

      assert [
               {:warning, "memory",
                "cannot read whether Redis evicts keys when it is full: " <> why, _}
             ] =
               eventually(fn ->
                 match?(%{servers: [%{connections: 0}]}, Client.status(store)) &&
                   Server.check(store, "k")
               end)

      assert why != ""
    end
  end

  describe "replicas/1" do
    test "is a warning if one is behind or not connected" do
      info = fn replicas -> "role:master\r\nconnected_slaves:2\r\n" <> replicas end
      well = "slave0:ip=10.0.0.1,port=6379,state=online,offset=1,lag=1\r\n"
      assert {:ok, _, "1, none more than 10 s behind", nil} = Server.replicas(info.(well))

      for behind <- ["state=online,offset=1,lag=11", "state=wait_bgsave,offset=0,lag=0"] do
        late = well <> "slave1:ip=10.0.0.2,port=6380,#{behind}\r\n"
        assert {:warning, "replicas", text, "a failover" <> _} = Server.replicas(info.(late))
        assert text == "1 of 2 are more than 10 s behind: 10.0.0.2:6380"
      end
    end

    test "is a failure of a server that is itself one" do
      assert {:failure, "replicas", "this server is a replica" <> _, "name its primary" <> _} =
               Server.replicas("role:slave\r\nmaster_link_status:up\r\n")
    end

    test "counts those of a real primary" do
      sentinels = Redis.start_sentinel!()
      {:ok, info} = Redis.command(sentinels.primary, ["INFO", "replication"])
      assert {:ok, "replicas", "1, none more than 10 s behind", nil} = Server.replicas(info)
    end
  end

  describe "clock/2" do
    test "is a warning beyond two seconds, either way, and nothing from a server that has none" do
      info = "server_time_usec:5000000\r\n"
      assert [{:ok, "clock", _, nil}] = Server.clock(info, 7_000)

      assert [{:warning, "clock", "that of Redis is 2001 ms behind that of this node", _}] =
               Server.clock(info, 7_001)

      assert [{:warning, "clock", "that of Redis is 4000 ms ahead of that of this node", advice}] =
               Server.clock(info, 1_000)

      assert advice =~ "NTP"
      assert Server.clock("role:master\r\n", 0) == []
    end
  end

  describe "version/1" do
    test "is the server's own, without a warning from 7.0 on" do
      assert Server.version("a:1\r\nredis_version:7.0.15\r\n") ==
               {:ok, "version", "Redis 7.0.15", nil}

      valkey = "redis_version:7.2.4\r\nvalkey_version:8.1.1\r\n"
      assert Server.version(valkey) == {:ok, "version", "Valkey 8.1.1", nil}

      for {info, name} <- [{"redis_version:6.9.9", "Redis 6.9.9"}, {"other:1", "Redis 0"}] do
        assert Server.version(info) ==
                 {:warning, "version", name,
                  "expected 7.0 or newer: older servers are not tested"}
      end
    end
  end

  describe "memory/1" do
    defp memory(bytes, policy),
      do:
        Server.memory("maxmemory:#{bytes}\r\nmaxmemory_human:x\r\nmaxmemory_policy:#{policy}\r\n")

    test "warns of a policy that evicts keys, if there is a maximum" do
      assert {:ok, "memory", "no maxmemory" <> _, nil} = memory(0, "allkeys-lru")
      assert {:ok, "memory", "maxmemory 9, noeviction: " <> _, nil} = memory(9, "noeviction")

      assert {:warning, "memory", "maxmemory 9, allkeys-lfu: " <> _,
              "set maxmemory-policy noeviction" <> _} = memory(9, "allkeys-lfu")
    end
  end
end
