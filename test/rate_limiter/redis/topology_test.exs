defmodule RateLimiter.Redis.TopologyTest do
  # Every topology, with real servers.
  use ExUnit.Case, async: true

  @moduletag :slow

  alias RateLimiter.Support.Redis
  alias RateLimiter.Support.Redis.{Certificates, Cluster, Sentinel}

  @window [limit: 1_000, per: {30, :day}]
  # These tests are about the server that answers, not about the deadline.
  @patient [timeout: 5_000]

  for program <- Redis.programs() do
    describe program do
      @describetag program: program

      test "connects over TLS, as an ACL user, with a certificate", %{program: program} do
        server =
          Redis.start_secured!(["limiter on >secret ~rate_limiter:* +@all"], program: program)

        start!(:secured,
          url: Redis.url(server),
          ssl: Redis.ssl(server),
          username: "limiter",
          password: "secret"
        )

        Redis.ready!(:secured, :w)
        assert {:ok, %{source: :redis, remaining: 999}} = RateLimiter.check_and_track(:secured, 7)
        assert [_key] = Redis.keys(server)
      end

      test "does not connect over TLS to a server with an unknown certificate", %{
        program: program
      } do
        server =
          Redis.start_secured!(["limiter on >secret ~rate_limiter:* +@all"], program: program)

        other = Path.join(server.directory, "other")
        File.mkdir_p!(other)
        %{ca: another} = Certificates.write!(other)
        ssl = Keyword.put(Redis.ssl(server), :cacertfile, another)

        start!(:unproven,
          url: Redis.url(server),
          ssl: ssl,
          username: "limiter",
          password: "secret"
        )

        Redis.eventually(fn -> problem(:unproven) =~ ~r/certificate.*(issuer|signature)/i end)
        assert {:ok, %{source: :fallback}} = RateLimiter.check_and_track(:unproven, 7)
      end

      test "does not connect over TLS without a certificate if the server requires one", %{
        program: program
      } do
        server =
          Redis.start_secured!(["limiter on >secret ~rate_limiter:* +@all"], program: program)

        ssl = Keyword.take(Redis.ssl(server), [:cacertfile])

        start!(:no_certificate,
          url: Redis.url(server),
          ssl: ssl,
          username: "limiter",
          password: "secret"
        )

        Redis.eventually(fn -> problem(:no_certificate) != "" end)
        assert {:ok, %{source: :fallback}} = RateLimiter.check_and_track(:no_certificate, 7)
      end

      test "connects through a Unix socket, to a database", %{program: program} do
        server = Redis.start!(program: program)
        start!(:socket, url: "unix:#{Redis.Server.socket(server)}", database: 3)
        Redis.ready!(:socket, :w)
        assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(:socket, 7)
        assert Redis.info(server, "db3") =~ "keys="
        assert Redis.info(server, "db0") == nil
      end

      test "with Sentinel follows the primary after a failover and after a kill", %{
        program: program
      } do
        sentinels = Redis.start_sentinel!(program: program)
        address = "127.0.0.1:#{sentinels.sentinel.port}"
        start!(:sentinel, sentinels: [address], group: sentinels.group)
        Redis.ready!(:sentinel, :w)
        assert {:ok, %{remaining: 999}} = RateLimiter.check_and_track(:sentinel, 7)
        assert [key] = Redis.keys(sentinels.primary)
        Redis.eventually(fn -> Redis.keys(sentinels.replica) == [key] end)

        promoted = Sentinel.promote!(sentinels)
        assert used(:sentinel, 7) == 1
        assert {:ok, %{remaining: 998}} = RateLimiter.check_and_track(:sentinel, 7)
        Redis.eventually(fn -> Redis.info(promoted.replica, "master_link_status") == "up" end)

        Sentinel.lose_primary!(promoted)
        # Two. If the last write was not replicated, the last known state of the node.
        assert used(:sentinel, 7) == 2
      end

      test "with Sentinel over TLS, and servers without", %{program: program} do
        %{sentinel: sentinel} =
          sentinels = Redis.start_sentinel!(program: program, sentinel_tls: true)

        options = [sentinels: ["localhost:#{sentinel.port}"], group: sentinels.group]
        start!(:sentinel_tls, options ++ [sentinel_ssl: Redis.ssl(sentinel)])
        Redis.ready!(:sentinel_tls, :w)
        assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(:sentinel_tls, 7)
        assert [_key] = Redis.keys(sentinels.primary)

        # Without it, TLS is as for the servers: none.
        start!(:sentinel_plain, options)
        Redis.eventually(fn -> RateLimiter.stats(:sentinel_plain).redis.problem != nil end)
        assert {:ok, %{source: :fallback}} = RateLimiter.check_and_track(:sentinel_plain, 7)
      end

      test "with a cluster finds every slot, also one that moves", %{program: program} do
        cluster = Redis.start_cluster!(program: program)
        [seed | _] = cluster.nodes
        start!(:cluster, cluster: ["127.0.0.1:#{seed.port}"])
        Redis.eventually(fn -> RateLimiter.health_check(:cluster) == :ok end)

        ids = Enum.to_list(1..300)
        answers = RateLimiter.check_batch(:cluster, Enum.map(ids, &{&1, 1}))
        assert Enum.all?(answers, &match?({:ok, %{source: :redis, remaining: 999}}, &1))
        each = for node <- Enum.take(cluster.nodes, 3), do: length(Redis.keys(node))
        assert Enum.sum(each) == 300 and Enum.min(each) > 50

        [key | _] = Redis.keys(seed)
        slot = Cluster.slot(cluster, key)
        id = Enum.find(ids, &(key =~ "#{&1}}"))
        {from, to} = Cluster.begin_move!(cluster, slot)

        assert {:ok, %{source: :redis, remaining: 998}} =
                 RateLimiter.check_and_track(:cluster, id)

        :ok = Cluster.move_keys!(slot, from, to)
        # The old owner replies ASK.
        assert {:ok, %{source: :redis, remaining: 997}} =
                 RateLimiter.check_and_track(:cluster, id)

        :ok = Cluster.finish_move!(cluster, slot, from, to)
        # The old owner replies MOVED.
        assert {:ok, %{source: :redis, remaining: 996}} =
                 RateLimiter.check_and_track(:cluster, id)

        {:ok, usages} = RateLimiter.get_usage_batch(:cluster, ids)
        assert usages |> Enum.map(fn {_id, usage} -> usage.current end) |> Enum.sum() == 303
      end

      test "with a cluster nodes agree on each subsystem, in any slot", %{program: program} do
        cluster = Redis.start_cluster!(program: program)
        addresses = for node <- cluster.nodes, do: "127.0.0.1:#{node.port}"
        options = [name: :agreeing, store: {:redis, [cluster: addresses] ++ @patient}]
        start_supervised!({RateLimiter, options ++ [vsm: [interval: 200]]})

        Redis.eventually(fn ->
          :agreeing
          |> RateLimiter.VSM.subsystem_metrics()
          |> Enum.all?(fn {_name, %{agreement: agreement}} -> agreement.state == :agreed end)
        end)
      end

      test "with a cluster continues when a replica replaces a killed primary", %{
        program: program
      } do
        cluster = Redis.start_cluster!(program: program)
        [seed, lost | _] = cluster.nodes
        start!(:lost, cluster: ["127.0.0.1:#{seed.port}", "127.0.0.1:#{lost.port}"])
        Redis.eventually(fn -> RateLimiter.health_check(:lost) == :ok end)
        ids = Enum.to_list(1..100)

        for answer <- RateLimiter.check_batch(:lost, Enum.map(ids, &{&1, 1})),
            do: {:ok, _} = answer

        replica = Cluster.replica(cluster, lost)
        keys = Redis.keys(lost)
        Redis.eventually(fn -> length(Redis.keys(replica)) == length(keys) end)

        Cluster.lose!(cluster, lost)
        # Limiters on other primaries are not affected.
        assert Enum.any?(
                 RateLimiter.check_batch(:lost, Enum.map(ids, &{&1, 0})),
                 &match?({:ok, %{source: :redis}}, &1)
               )

        Redis.eventually(fn -> Redis.info(replica, "role") == "master" end)

        Redis.eventually(fn ->
          {:ok, usages} = RateLimiter.get_usage_batch(:lost, ids)
          Enum.all?(usages, &match?({_id, %{source: :redis, current: 1}}, &1))
        end)
      end
    end
  end

  defp start!(name, store) do
    start_supervised!(
      {RateLimiter,
       name: name,
       store: {:redis, store ++ @patient},
       stats_interval: :infinity,
       limiters: [{name, windows: [w: @window], events: :none}]}
    )
  end

  # The answer of Redis: between two primaries the node may decide alone for a moment.
  defp used(limiter, id) do
    case RateLimiter.get_usage(limiter, id) do
      {:ok, %{source: :redis, current: current}} ->
        current

      _alone ->
        Process.sleep(5)
        used(limiter, id)
    end
  end

  defp problem(instance) do
    RateLimiter.stats(instance).redis.servers |> Enum.map_join(" ", & &1.problem)
  end
end
