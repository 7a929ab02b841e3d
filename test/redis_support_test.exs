defmodule RateLimiter.Support.RedisTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Support.{Nodes, Redis}
  alias RateLimiter.Support.Redis.{Cluster, Sentinel}

  describe "one server" do
    test "answers, is killed, is there again without its data" do
      server = Redis.start!()
      assert "OK" = Redis.command!(server, ["SET", "key", "a value\r\nof two lines"])

      assert {:ok, ["a value\r\nof two lines", nil]} =
               Redis.command(server, ["MGET", "key", "other"])

      assert {:error, "WRONGTYPE" <> _} = Redis.command(server, ["LPUSH", "key", "x"])

      Redis.kill(server)
      assert {:error, _reason} = Redis.command(server, ["PING"])

      Redis.restart!(server)
      assert Redis.command!(server, ["GET", "key"]) == nil
    end

    test "is frozen, and thaws" do
      server = Redis.start!()
      Redis.freeze(server)
      assert {:error, :timeout} = Redis.Server.command(server, ["PING"], 50)
      Redis.thaw(server)
      assert "PONG" = Redis.command!(server, ["PING"])
    end

    @tag :capture_log
    test "ends with the process that started it, with its directory, also when that is killed" do
      test = self()

      {owner, monitor} =
        spawn_monitor(fn ->
          server = Redis.start!()
          send(test, {:server, server, Redis.info(server, "process_id")})
          Process.sleep(:infinity)
        end)

      assert_receive {:server, server, process}, 30_000
      Redis.freeze(server)
      Process.exit(owner, :kill)
      assert_receive {:DOWN, ^monitor, _, _, :killed}, 30_000
      Redis.eventually(fn -> not File.exists?("/proc/#{process}") end)
      Redis.eventually(fn -> not File.exists?(server.directory) end)
    end

    test "that cannot start says why" do
      assert_raise RuntimeError, ~r/maxmemory/, fn ->
        Redis.start!(config: [maxmemory: "lots"])
      end
    end
  end

  @tag :capture_log
  test "a secured server lets nobody in without a certificate" do
    {:ok, _started} = Application.ensure_all_started(:ssl)
    server = Redis.start_secured!(["limiter on >secret ~rate_limiter:* +@all"])
    assert "PONG" = Redis.command!(server, ["PING"])
    ssl = Redis.ssl(server)
    options = [cacertfile: ssl[:cacertfile], verify: :verify_peer, active: false, mode: :binary]
    with_certificate = options ++ Keyword.take(ssl, [:certfile, :keyfile])

    {:ok, socket} = :ssl.connect(~c"localhost", server.port, with_certificate, 30_000)
    :ok = :ssl.send(socket, "AUTH limiter secret\r\nGET rate_limiter:a\r\nGET other\r\n")
    assert read(socket, "") =~ ~r/^\+OK\r\n\$-1\r\n-NOPERM/

    with {:ok, socket} <- :ssl.connect(~c"localhost", server.port, options, 30_000) do
      :ssl.send(socket, "PING\r\n")
      assert {:error, reason} = :ssl.recv(socket, 0, 30_000)
      assert reason != :timeout
    end
  end

  test "Sentinel promotes the replica when it is told to, and when the primary is killed" do
    sentinels = Redis.start_sentinel!()
    assert Sentinel.primary_port(sentinels) == sentinels.primary.port
    promoted = Sentinel.promote!(sentinels)
    assert promoted.primary == sentinels.replica
    assert Redis.info(promoted.primary, "role") == "master"
  end

  test "a cluster moves a slot" do
    cluster = Redis.start_cluster!()
    slot = Cluster.slot(cluster, "{a}")
    owner = Cluster.owner(cluster, slot)
    "OK" = Redis.command!(owner, ["SET", "{a}", "here"])
    {from, to} = Cluster.begin_move!(cluster, slot)
    assert from == owner
    assert {:error, "ASK" <> _} = Redis.command(from, ["GET", "{a}b"])
    Cluster.finish_move!(cluster, slot, from, to)
    assert Cluster.owner(cluster, slot) == to
    assert Redis.command!(to, ["GET", "{a}"]) == "here"
    assert {:error, "MOVED" <> _} = Redis.command(from, ["GET", "{a}"])
  end

  test "nodes are processes of their own" do
    [one, other] = Nodes.start!(2)
    refute Nodes.call(one, System, :pid, []) == Nodes.call(other, System, :pid, [])
    Nodes.kill(one)
    assert Nodes.call(other, Kernel, :+, [1, 1]) == 2
  end

  defp read(socket, seen) do
    case :ssl.recv(socket, 0, 30_000) do
      {:ok, bytes} ->
        if seen <> bytes =~ "NOPERM", do: seen <> bytes, else: read(socket, seen <> bytes)

      {:error, reason} ->
        flunk("#{inspect(reason)} after #{inspect(seen)}")
    end
  end
end
