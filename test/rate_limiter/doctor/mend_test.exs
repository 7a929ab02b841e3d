defmodule RateLimiter.Doctor.MendTest do
  # What the doctor says about real servers that cannot be used. Not async: it uses one name on the node.
  use ExUnit.Case, async: false

  alias RateLimiter.Doctor.{Mend, Shared}
  alias RateLimiter.Support.Redis
  alias RateLimiter.Support.Redis.{Certificates, Sentinel, Server}

  @user "limiter on >secret ~rate_limiter:* +@all"

  # The only finding: the Redis cannot be used.
  defp unusable(options) do
    options = Keyword.merge([timeout: 30_000], options)
    assert [{:failure, "Redis", why, advice}] = Shared.check({:redis, options})
    refute why =~ "secret"
    {why, advice}
  end

  defp unusable_at(server, options \\ []), do: unusable([url: Redis.url(server)] ++ options)

  test "a server whose memory is full" do
    server = Redis.start!()
    Redis.command!(server, ["CONFIG", "SET", "maxmemory", 1])
    assert {why, advice} = unusable_at(server)
    assert why =~ "OOM"
    assert advice =~ "raise its maxmemory"
  end

  test "a server that misses its replicas" do
    server = Redis.start!(config: ["min-replicas-to-write": 1])
    assert {why, advice} = unusable_at(server)
    assert why =~ "NOREPLICAS"
    assert advice =~ "min-replicas-to-write"
  end

  test "a server that cannot save its data" do
    server = Redis.start!(config: [save: "3600 1"])
    # Its file cannot replace a folder.
    File.mkdir_p!(Path.join([server.directory, "dump.rdb", "folder"]))
    Redis.command!(server, ["BGSAVE"])
    Redis.eventually(fn -> Redis.info(server, "rdb_last_bgsave_status") == "err" end)
    assert {why, advice} = unusable_at(server)
    assert why =~ "MISCONF"
    assert advice =~ "cannot save its data"
  end

  test "a server that loads its data" do
    server =
      Redis.start!(
        config: ["key-load-delay": 20_000, "loading-process-events-interval-bytes": 1_024]
      )

    Redis.command!(server, ["DEBUG", "POPULATE", 10_000])
    Redis.command!(server, ["SAVE"])
    Redis.kill(server)
    # Until it answers, it takes minutes.
    Redis.start_again(server)
    Redis.eventually(fn -> match?({:error, "LOADING" <> _}, Redis.command(server, ["PING"])) end)
    assert {why, advice} = unusable_at(server)
    assert why =~ "LOADING"
    assert advice =~ "wait until it has finished"
  end

  test "a server without room for another client" do
    server = Redis.start!()
    Redis.command!(server, ["CONFIG", "SET", "maxclients", 1])
    {:ok, _held} = Redis.Connection.open(Server.socket(server), nil, 5_000)
    assert {why, advice} = unusable_at(server)
    # It closes the connection at once, so its words may be lost.
    assert why =~ ~r/max number of clients|broken pipe|reset/i
    assert advice =~ "raise maxclients"
  end

  test "a database that the server does not have" do
    assert {why, advice} = unusable_at(Redis.start!(), database: 99)
    assert why =~ "DB index"
    assert advice =~ "database:"
  end

  test "a password that the server does not need" do
    assert {_why, advice} = unusable_at(Redis.start!(), password: "secret")
    assert advice =~ "has no password"
  end

  test "a replica, and a Sentinel given as a server" do
    sentinels = Redis.start_sentinel!()
    assert {why, advice} = unusable_at(sentinels.replica)
    assert why =~ "READONLY"
    assert advice =~ "name its primary, or the Sentinels"

    assert {why, advice} = unusable_at(sentinels.sentinel)
    assert why =~ "the first reply cannot be read"
    assert advice =~ "this is a Sentinel: name it by sentinels:"

    address = "127.0.0.1:#{sentinels.sentinel.port}"
    assert {why, advice} = unusable(sentinels: [address], group: "others")
    assert why =~ ~s(does not know the group "others")
    assert advice =~ "set group:"
    assert %Sentinel{} = sentinels
  end

  test "a server that refuses EVALSHA" do
    server = Redis.start!(config: ["rename-command": ~s(EVALSHA "")])
    assert {_why, advice} = unusable_at(server)
    assert advice =~ "refuses EVALSHA"
  end

  test "a node of a Cluster as a server, and a server as a node of a Cluster" do
    server = Redis.start!(config: ["cluster-enabled": "yes"])
    assert {_why, advice} = unusable_at(server)
    assert advice =~ ~r/node of a Cluster|give each slot a primary/

    assert {why, advice} = unusable(cluster: ["127.0.0.1:#{Redis.start!().port}"])
    assert why =~ "cluster support disabled"
    assert advice =~ "not a node of a Cluster"
  end

  test "certificates: an unknown issuer, none of this client, another name, and a port without TLS" do
    server = Redis.start_secured!([@user])
    ssl = Redis.ssl(server)
    credentials = [username: "limiter", password: "secret"]

    assert {_why, advice} =
             unusable_at(server, [ssl: Keyword.delete(ssl, :cacertfile)] ++ credentials)

    assert advice =~ "--cacertfile"

    other = Path.join(server.directory, "other")
    File.mkdir_p!(other)
    %{ca: another} = Certificates.write!(other)
    ssl_of_another = Keyword.put(ssl, :cacertfile, another)
    assert {_why, advice} = unusable_at(server, [ssl: ssl_of_another] ++ credentials)
    assert advice =~ "--cacertfile"

    assert {why, advice} =
             unusable_at(server, [ssl: Keyword.take(ssl, [:cacertfile])] ++ credentials)

    assert advice =~ "--certfile", why

    plain = Redis.start!()
    url = String.replace(Redis.url(plain), "redis:", "rediss:")
    assert {why, advice} = unusable(url: url, ssl: ssl, connect_timeout: 500)
    assert advice =~ "does not seem to speak TLS", why
  end

  test "of/1 knows words of servers that are not started here" do
    assert Mend.of("invalid peer certificate: Expired") =~ "renew"

    assert Mend.of("invalid peer certificate: certificate not valid for name \"a\"") =~
             "by a name"

    assert Mend.of("BUSY Redis is busy running a script.") =~ "SCRIPT KILL"
    assert Mend.of("no answer within 2s, while waiting for TCP") =~ "firewalls"
    assert Mend.of("no answer within 50ms") =~ "raise that above the round trip"
    assert Mend.of("failed to lookup address information") =~ "host name"
    assert Mend.of("something else") =~ "check that Redis runs"
  end
end
