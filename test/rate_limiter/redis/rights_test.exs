defmodule RateLimiter.Redis.RightsTest do
  # The ACL user that the guide describes, with a real server.
  use ExUnit.Case, async: true

  alias RateLimiter.Support.{Documents, Redis}

  # On a busy machine, sensors would shed calls.
  @quiet [schedulers: false, run_queue: false, timer: false, memory: false]

  test "the rights in the guide are sufficient and necessary" do
    rights = Documents.rights()
    server = Redis.start!(config: [user: rights])

    store =
      {:redis, url: Redis.url(server), username: "limiter", password: "secret", timeout: 10_000}

    window = [limit: 10, per: :hour]
    limiters = [rights: [windows: [a: window, b: window]]]
    vsm = [subsystems: [work: [limit: 10, per: :second]], interval: 200, sensors: @quiet]
    options = [name: :rights, store: store, limiters: limiters, vsm: vsm]
    instance = start_supervised!({RateLimiter, options})

    Redis.ready!(:rights, :a)
    assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(:rights, 1)
    assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(:rights, 1, request_id: "once")
    assert {:ok, %{source: :redis}} = RateLimiter.peek(:rights, 1, :a)
    assert {:ok, %{source: :redis}} = RateLimiter.refund(:rights, 1, :a)
    assert :ok = RateLimiter.reset(:rights, 1)
    assert [{:ok, %{source: :redis}}, _] = RateLimiter.check_batch(:rights, [{1, 1}, {2, 1}])
    assert {:ok, [_, _]} = RateLimiter.get_usage_batch(:rights, [1, 2])
    # The eviction policy of the server.
    Redis.eventually(fn -> used?(server, "info") end)
    # The nodes agree on the scale of a subsystem, and remove a node that has left.
    assert {:ok, _usage} = RateLimiter.VSM.check_subsystem_limit(:work, 1, instance: :rights)
    nodes = fn -> Redis.command!(server, ["KEYS", "*vsm*:nodes"]) end
    Redis.eventually(fn -> match?([_], nodes.()) end)
    Redis.command!(server, ["HSET", hd(nodes.()), "gone", "1 long ago"])
    agreed = fn -> RateLimiter.VSM.subsystem_metrics(:rights).work.agreement.state == :agreed end
    Redis.eventually(agreed)
    Redis.eventually(fn -> used?(server, "hdel") and used?(server, "hincrby") end)
    # The heartbeat of this node, and its leave.
    Redis.eventually(fn -> used?(server, "zadd") end)
    Supervisor.stop(instance)
    Redis.eventually(fn -> used?(server, "zrem") end)

    assert Redis.command!(server, ["ACL", "LOG"]) == []

    for [right] <- Regex.scan(~r/ \+(\S+)/, rights, capture: :all_but_first),
        do: assert(used?(server, right), right)
  end

  test "without the rights for agreement, Redis decides calls and explain/1 reports the missing right" do
    fewer = String.replace(Documents.rights(), ~r/ \+h\w+/, "")
    server = Redis.start!(config: [user: fewer])

    store =
      {:redis, url: Redis.url(server), username: "limiter", password: "secret", timeout: 10_000}

    limiters = [fewer_rights: [windows: [a: [limit: 1_000_000, per: :hour]]]]
    vsm = [subsystems: [work: [limit: 10, per: :second]], interval: 20, sensors: @quiet]
    options = [name: :fewer_rights, store: store, limiters: limiters, vsm: vsm]
    start_supervised!({RateLimiter, options})
    Redis.ready!(:fewer_rights, :a)
    # On a busy machine the breaker may have opened while the client connected.
    %{opened: before, refused: refused} = RateLimiter.stats(:fewer_rights).redis
    Redis.eventually(fn -> RateLimiter.stats(:fewer_rights).redis.refused > refused + 20 end)

    assert %{opened: ^before, servers: [%{breaker: :closed}]} =
             RateLimiter.stats(:fewer_rights).redis

    assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(:fewer_rights, 1)
    assert RateLimiter.VSM.subsystem_metrics(:fewer_rights).work.agreement.state == :alone
    said = fn -> RateLimiter.VSM.explain(:work, :fewer_rights) end
    Redis.eventually(fn -> Enum.any?(said.(), &(&1.sentence =~ ~r/Redis replied: .*user/i)) end)
  end

  defp used?(server, command), do: Redis.info(server, "cmdstat_#{command}") != nil
end
