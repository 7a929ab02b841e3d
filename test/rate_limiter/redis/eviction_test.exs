defmodule RateLimiter.Redis.EvictionTest do
  # A real server that evicts keys when its memory is full.
  use ExUnit.Case, async: true

  alias RateLimiter.Support.{Documents, Redis}
  alias RateLimiter.Support.Redis.Heard

  @maxmemory 100_000_000
  @evicts [maxmemory: @maxmemory, "maxmemory-policy": "allkeys-lru"]
  @event [:rate_limiter, :redis, :eviction]

  setup context, do: {:ok, name: context.test}

  defp start(name, server, store \\ []) do
    Heard.listen(name, [@event])
    store = Keyword.merge([url: Redis.url(server), timeout: 10_000], store)
    limiters = [{name, [windows: [a: [limit: 10, per: :hour]]]}]
    start_supervised!({RateLimiter, name: name, store: {:redis, store}, limiters: limiters})
    Redis.ready!(name, :a)
  end

  test "eviction is reported once, with the setting to change, and by health_check/1 until it is changed",
       %{name: name} do
    server = Redis.start!(config: @evicts)
    start(name, server)
    assert_receive {:event, @event, %{maxmemory: @maxmemory}, metadata}, 20_000
    address = "127.0.0.1:#{server.port}"
    assert %{server: ^address, policy: "allkeys-lru", reason: reason} = metadata
    assert reason =~ "expected maxmemory-policy noeviction, got: allkeys-lru"
    assert [%{evicts: "allkeys-lru"}] = RateLimiter.stats(name).redis.servers

    assert {:degraded, {:evicts, [%{server: ^address, breaker: :closed}]}} =
             RateLimiter.health_check(name)

    assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(name, 1)

    Redis.command!(server, ["CONFIG", "SET", "maxmemory-policy", "noeviction"])
    # The client reads the policy again when it reconnects.
    Redis.command!(server, ["CLIENT", "KILL", "TYPE", "normal"])

    Redis.eventually(fn ->
      RateLimiter.check_and_track(name, 2, :a, cost: 0)
      RateLimiter.health_check(name) == :ok
    end)

    refute_received {:event, @event, _measurements, _metadata}
  end

  test "eviction is not reported if the user may not read the policy, and calls work", %{
    name: name
  } do
    rights = String.replace(Documents.rights(), " +info", "")
    server = Redis.start!(config: [{:user, rights} | @evicts])
    start(name, server, username: "limiter", password: "secret")
    Redis.eventually(fn -> inspect(Redis.command!(server, ["ACL", "LOG"])) =~ ~s("info") end)
    assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(name, 1)
    assert RateLimiter.health_check(name) == :ok
    assert [%{evicts: nil, problem: nil}] = RateLimiter.stats(name).redis.servers
    refute_received {:event, @event, _measurements, _metadata}
  end
end
