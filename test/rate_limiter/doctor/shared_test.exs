defmodule RateLimiter.Doctor.SharedTest do
  # Not async: the checks use one name on the node.
  use ExUnit.Case, async: false

  alias RateLimiter.Doctor.Shared
  alias RateLimiter.Support.{Documents, Redis}
  alias RateLimiter.Support.Redis.Proxy

  defp check(options), do: Shared.check({:redis, Keyword.merge([timeout: 30_000], options)})

  defp level(findings, about) do
    {level, ^about, result, _advice} = List.keyfind(findings, about, 1)
    {level, result}
  end

  defp assert_well(findings) do
    assert Enum.all?(findings, &match?({:ok, _about, _result, nil}, &1)), inspect(findings)
    findings
  end

  test "a local store has nothing to check" do
    assert [{:ok, "Redis", "not checked: " <> _, nil}] = Shared.check(:local)
  end

  test "the prefix is that of the store if it has no room for the part of the checks" do
    server = Redis.start!()

    for {length, below} <- [{57, ":doctor"}, {58, ""}, {64, ""}] do
      Redis.command!(server, ["FLUSHALL"])
      prefix = String.duplicate("x", length)
      assert {:ok, _} = [url: Redis.url(server), prefix: prefix] |> check() |> level("script")
      keys = Redis.command!(server, ["KEYS", "*"])
      assert keys != [] and Enum.all?(keys, &String.starts_with?(&1, prefix <> below <> ":{"))
    end

    assert RateLimiter.health_check(:rate_limiter_doctor) == {:error, :not_running}
  end

  test "a primary that Sentinels know" do
    sentinels = Redis.start_sentinel!()
    address = "127.0.0.1:#{sentinels.sentinel.port}"
    findings = assert_well(check(sentinels: [address], group: sentinels.group))
    assert {:ok, "connected: 127.0.0.1:" <> port} = level(findings, "Redis")
    assert port == "#{sentinels.primary.port}"
  end

  @tag :slow
  test "a Cluster, on each of its servers" do
    cluster = Redis.start_cluster!()
    [seed, _second, third | _] = cluster.nodes
    findings = assert_well(check(cluster: ["127.0.0.1:#{seed.port}"]))
    assert {:ok, connected} = level(findings, "Redis")
    for node <- Enum.take(cluster.nodes, 3), do: assert(connected =~ ":#{node.port}")

    for {name, value} <- [maxmemory: "100mb", "maxmemory-policy": "allkeys-lru"],
        do: Redis.command!(third, ["CONFIG", "SET", name, value])

    findings = check(cluster: ["127.0.0.1:#{seed.port}"])
    evicting = for {:warning, "memory", text, _advice} <- findings, do: text
    assert [text] = evicting
    assert text =~ ":#{third.port}: allkeys-lru"
  end

  test "a server that asks for a certificate of its client" do
    server = Redis.start_secured!([Documents.rights()])
    options = [url: Redis.url(server), ssl: Redis.ssl(server)]
    assert_well(check(options ++ [username: "limiter", password: "secret"]))
  end

  test "a deadline that is too near the round trip" do
    server = Redis.start!()
    url = Redis.url(server)
    assert {:ok, "a round trip takes " <> _} = level(check(url: url), "distance")

    far = "redis://127.0.0.1:#{Proxy.start!(server.port, 300).port}"
    findings = check(url: far, timeout: 100)
    assert {:failure, _} = level(findings, "distance")
    assert {:failure, "script", why, advice} = List.keyfind(findings, "script", 1)
    assert why =~ "20 of 20 calls got no reply: no answer within 100ms"
    assert advice =~ "raise that above the round trip"
  end

  test "distance/2 wants two round trips" do
    distance = fn round_trips, timeout ->
      Shared.distance(%{servers: Enum.map(round_trips, &%{round_trip_us: &1})}, timeout)
    end

    assert {:ok, _, "a round trip takes 25.0 ms; the deadline of a call, timeout:, is 50 ms", nil} =
             distance.([300, 25_000], 50)

    assert {:warning, _, _, "set timeout: (--timeout) to 61 or more" <> _} =
             distance.([25_500], 50)

    assert {:failure, _, _, _} = distance.([50_000], 50)
  end

  test "a right that only some calls need is named" do
    rights = String.replace(Documents.rights(), " +del ", " ")
    server = Redis.start!(config: [user: rights])
    findings = check(url: Redis.url(server), username: "limiter", password: "secret")
    assert {:failure, result} = level(findings, "rights")
    assert result =~ "lacks +del:"
  end
end
