defmodule RateLimiter.Redis.RightsTest do
  # The user that the guide describes, in a real server.
  use ExUnit.Case, async: true

  alias RateLimiter.Support.{Documents, Redis}

  # Calls are not to be shed where the machine is busy.
  @quiet [schedulers: false, run_queue: false, timer: false, memory: false]

  test "what the guide lists is enough, and nothing of it is too much" do
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
    # Whether the server forgets keys when it is full.
    Redis.eventually(fn -> used?(server, "info") end)
    # That the nodes of the subsystems agree, and forget one that has gone.
    assert {:ok, _usage} = RateLimiter.VSM.check_subsystem_limit(:work, 1, instance: :rights)
    nodes = fn -> Redis.command!(server, ["KEYS", "*vsm*:nodes"]) end
    Redis.eventually(fn -> match?([_], nodes.()) end)
    Redis.command!(server, ["HSET", hd(nodes.()), "gone", "1 long ago"])
    agreed = fn -> RateLimiter.VSM.subsystem_metrics(:rights).work.agreement.state == :agreed end
    Redis.eventually(agreed)
    Redis.eventually(fn -> used?(server, "hdel") and used?(server, "hincrby") end)
    # That this node is there, and that it leaves.
    Redis.eventually(fn -> used?(server, "zadd") end)
    Supervisor.stop(instance)
    Redis.eventually(fn -> used?(server, "zrem") end)

    assert Redis.command!(server, ["ACL", "LOG"]) == []

    for [right] <- Regex.scan(~r/ \+(\S+)/, rights, capture: :all_but_first),
        do: assert(used?(server, right), right)
  end

  test "without those by which nodes agree, calls go to Redis as ever, and subsystems say what is missing" do
    fewer = String.replace(Documents.rights(), ~r/ \+h\w+/, "")
    server = Redis.start!(config: [user: fewer])

    store =
      {:redis, url: Redis.url(server), username: "limiter", password: "secret", timeout: 10_000}

    limiters = [fewer_rights: [windows: [a: [limit: 1_000_000, per: :hour]]]]
    vsm = [subsystems: [work: [limit: 10, per: :second]], interval: 20, sensors: @quiet]
    options = [name: :fewer_rights, store: store, limiters: limiters, vsm: vsm]
    start_supervised!({RateLimiter, options})
    Redis.ready!(:fewer_rights, :a)
    # To connect may have taken a busy machine too long.
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
