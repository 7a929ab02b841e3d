defmodule RateLimiter.Redis.InstanceTest do
  # An instance with a Redis store: its status, its changes and its end.
  use RateLimiter.Support.Redis.Case, async: true

  alias RateLimiter.Redis.{Credentials, Events, Heartbeat}

  describe "an instance" do
    test "reports the status and counts of the client", %{name: name, server: server} = context do
      start(context)
      # On a busy machine the breaker may have opened while the client connected.
      %{redis: %{opened: opened}} = RateLimiter.stats(name)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      {:error, :rate_limited, _} = RateLimiter.check_and_track(name, "u", :a, cost: 11)
      address = "127.0.0.1:#{server.port}"

      assert %{store: :redis, checks: 2, denials: 1, fallbacks: 0, pending: 0, owing: 0} =
               stats = RateLimiter.stats(name)

      assert stats.breaker == :closed

      assert %{servers: [%{server: ^address, breaker: :closed, connections: 1, problem: nil}]} =
               stats.redis

      assert %{nodes: 1, calls: calls, batches: batches, timeouts: 0, opened: ^opened} =
               stats.redis

      # A script that the server lacks is sent again, with its source.
      assert calls >= 2 and batches in 1..(calls + 2)
      assert %{checks: 2, away?: false} = stats.limiters[name]

      assert [{^name, %{on_outage: :share, windows: [a: %{max: 10}, b: %{max: 20}]}}] =
               RateLimiter.limiters(name)
    end

    test "refuses a log that would cost Redis too much for each call, also later", context do
      log = &[windows: [w: [algorithm: :sliding_log, limit: &1, per: :minute]]]
      start(context, [], log.(1_000))
      message = ~r/windows\.w\.limit: expected at most 1000 for this algorithm, got: 1001/
      %{name: name} = context

      assert_raise ArgumentError, message, fn ->
        RateLimiter.update_limit(name, :w, limit: 1_001)
      end

      add = fn -> RateLimiter.add_limiter(:too_long, log.(1_001) ++ [instance: name]) end
      assert_raise ArgumentError, message, add
    end

    test "counts calls by what decided them, and how long they waited", context do
      %{name: name} = context
      start(context, [], threshold: 0.8)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a, cost: 8)
      {:error, :rate_limited, _} = RateLimiter.check_and_track(name, "u", :a, cost: 9)
      stats = RateLimiter.stats(name)
      window = stats.limiters[name].windows.a
      assert %{allowed: 1, denied: 1, unavailable: 0, thresholds: 1} = window
      assert window.sources.redis == %{allowed: 1, denied: 1}
      assert window.sources.fallback == %{allowed: 0, denied: 0}
      assert [%{opened: opened, answered: answered}] = stats.redis.servers
      assert answered.buckets |> Enum.map(&elem(&1, 1)) |> Enum.sum() == 2
      assert answered.sum_us > 0
      assert {:infinity, _} = List.last(answered.buckets)

      Redis.kill(context.server)
      Redis.eventually(fn -> RateLimiter.stats(name).breaker == :opened end)
      {:ok, %{source: :fallback}} = RateLimiter.check_and_track(name, "v", :a)
      stats = RateLimiter.stats(name)
      assert stats.limiters[name].windows.a.sources.fallback.allowed > 0
      assert [%{opened: more, failed: %{sum_us: _}}] = stats.redis.servers
      assert more == opened + 1
    end

    test "emits its counts as events", %{name: name} = context do
      Heard.listen(name, [[:rate_limiter, :stats], [:rate_limiter, :memory]])
      options = [store: {:redis, url: Redis.url(context.server)}, stats_interval: 1]

      start_supervised!(
        {RateLimiter, [name: name, limiters: [{name, windows: windows()}]] ++ options}
      )

      # Before it is connected, and after a slow answer, the fallback decides.
      Redis.ready!(name, :a)

      Redis.eventually(fn ->
        match?({:ok, %{source: :redis}}, RateLimiter.check_and_track(name, "u", :a))
      end)

      assert_receive {:event, [_, :stats], %{checks: 1, allowed: 1, fallbacks: 0},
                      %{store: :redis, limiter: ^name, window: :a}},
                     30_000

      assert_receive {:event, [_, :memory], %{keys: 1} = sizes, %{limiter: ^name}}, 30_000
      assert sizes |> Map.keys() |> Enum.sort() == ~w(bytes cached_denials keys owing pending)a
    end

    test "adds, changes and removes limiters, and keeps usage in Redis",
         %{name: name} = context do
      start(context)
      added = :"added to #{name}"
      :ok = RateLimiter.add_limiter(added, [windows: windows()], name)

      {:ok, %Usage{source: :redis, remaining: 4}} =
        RateLimiter.check_and_track(added, "u", :a, cost: 6)

      :ok = RateLimiter.update_limit(added, :a, burst: 8)
      assert {:ok, %Usage{max: 8, remaining: 2}} = RateLimiter.get_usage(added, "u", :a)

      assert %{windows: [a: %{burst: 8, max: 8}, b: _]} = RateLimiter.limiters(name)[added]

      :ok = RateLimiter.remove_limiter(added)

      assert_raise ArgumentError, ~r/^unknown limiter/, fn ->
        RateLimiter.check_and_track(added, "u", :a)
      end

      # Redis keeps the usage, for the other nodes.
      :ok = RateLimiter.add_limiter(added, [windows: windows()], name)
      assert {:ok, %Usage{remaining: 4}} = RateLimiter.get_usage(added, "u", :a)
    end

    test "closes its connections and leaves the nodes when it stops", context do
      %{name: name, server: server} = context
      start(context)
      Redis.eventually(fn -> nodes(server) == 1 end)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      assert clients(server) > 1
      :ok = stop_supervised!(name)
      Redis.eventually(fn -> nodes(server) == 0 end)
      # Only the connection of this check is left.
      Redis.eventually(fn -> clients(server) == 1 end)
    end

    test "closes its connections when it is killed", %{name: name, server: server} = context do
      {:ok, pid} =
        RateLimiter.start_link(
          name: name,
          store: {:redis, url: Redis.url(server)},
          limiters: [{name, windows: windows()}]
        )

      Process.unlink(pid)
      Redis.eventually(fn -> clients(server) > 1 end)
      capture_log(fn -> Process.exit(pid, :kill) end)
      Redis.eventually(fn -> clients(server) == 1 end)
      Redis.eventually(fn -> RateLimiter.health_check(name) == {:error, :not_running} end)
      # The name is free.
      start(context)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)
    end

    test "keeps working when one of its processes crashes", %{name: name} = context do
      supervisor = start(context)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)

      capture_log(fn ->
        for module <- [Credentials, Events, Heartbeat] do
          pid = child(supervisor, module)
          Process.exit(pid, :kill)

          Redis.eventually(fn ->
            child(supervisor, module) not in [pid, :restarting, :undefined]
          end)
        end
      end)

      assert {:ok, %Usage{source: :redis, remaining: 8}} =
               RateLimiter.check_and_track(name, "u", :a)
    end

    defp nodes(server), do: Redis.command!(server, ["ZCARD", "rate_limiter:{nodes}"])

    defp clients(server) do
      server |> Redis.command!(["CLIENT", "LIST"]) |> String.split("\n", trim: true) |> length()
    end
  end

  describe "a limit that the numbers of Redis cannot represent" do
    test "is rejected at start, by add_limiter/3 and by update_limit/3, with the reason",
         context do
      %{name: name, server: server} = context
      huge = [limit: 9_000_000_000_000_000_000, per: :second]

      assert_raise ArgumentError, ~r/^limiters\.wide\.windows\.w\.(limit|burst): /, fn ->
        RateLimiter.start_link(
          name: name,
          store: {:redis, url: Redis.url(server)},
          limiters: [wide: [windows: [w: huge]]]
        )
      end

      start(context)

      assert_raise ArgumentError, ~r/^limiters\.wide\.windows\.w\.(limit|burst): /, fn ->
        RateLimiter.add_limiter(:wide, [windows: [w: huge]], name)
      end

      assert_raise ArgumentError, ~r/windows\.a\.(limit|burst): /, fn ->
        RateLimiter.update_limit(name, :a, huge)
      end

      assert {:ok, %Usage{max: 10}} = RateLimiter.get_usage(name, "u", :a)
    end
  end
end
