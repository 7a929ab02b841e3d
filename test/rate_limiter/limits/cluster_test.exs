defmodule RateLimiter.Limits.ClusterTest do
  # Nodes of one Redis in real BEAMs, since one node has only one limiter of a name.
  use RateLimiter.Support.Redis.Case, async: true

  alias RateLimiter.Limits
  alias RateLimiter.Support.Nodes

  @limiters [
    api: [windows: [a: [limit: 10, per: :day], b: [limit: 100, per: :day]]],
    mail: [windows: [w: [limit: 5, per: :day]]]
  ]

  defp store(server), do: {:redis, url: Redis.url(server), timeout: 5_000}

  defp start_on(node, server, options \\ []) do
    options = Keyword.merge([store: store(server), limiters: @limiters], options)

    {:ok, _} =
      Nodes.call(node, Supervisor, :start_child, [RateLimiter.Supervisor, {RateLimiter, options}])

    Redis.eventually(fn -> Nodes.call(node, RateLimiter, :health_check, []) == :ok end)
  end

  defp stop_on(node) do
    :ok = Nodes.call(node, Supervisor, :terminate_child, [RateLimiter.Supervisor, RateLimiter])
    :ok = Nodes.call(node, Supervisor, :delete_child, [RateLimiter.Supervisor, RateLimiter])
  end

  defp apply_on(node, limits, options), do: Nodes.call(node, Limits, :apply, [limits, options])

  defp limits(node) do
    for {name, %{windows: windows}} <- Nodes.call(node, RateLimiter, :limiters, []),
        {window, %{limit: limit}} <- windows,
        into: %{},
        do: {{name, window}, limit}
  end

  defp stats(node), do: Nodes.call(node, RateLimiter, :stats, []).limits

  defp check(node, limiter, cost),
    do: Nodes.call(node, RateLimiter, :check_and_track, [limiter, "u", [cost: cost]])

  # A second, and what a busy machine adds.
  defp soon(fun), do: Redis.eventually(fun)

  test "a change reaches all nodes, also one that starts later, until it is withdrawn", %{
    server: server
  } do
    [one, other, late] = Nodes.start!(3)
    for node <- [one, other], do: start_on(node, server)
    {:ok, _} = check(other, :api, 4)

    new = [
      api: [windows: [a: [limit: 7, per: :day]]],
      more: %{windows: %{w: %{limit: 3, per: {2, :minute}}}}
    ]

    assert {:ok, diff} = apply_on(one, new, scope: :cluster, by: "ann", dry_run: true)
    assert {:ok, ^diff} = apply_on(one, new, scope: :cluster, by: "ann")
    assert [{:added, [:more], _}, {:changed, [:api, :a, :limit], 10, 7}] = diff
    assert limits(one)[{:api, :a}] == 7
    soon(fn -> limits(other) == limits(one) end)

    assert {:ok, %{windows: %{a: %{max: 7, current: 4}}}} =
             Nodes.call(other, RateLimiter, :get_usage, [:api, "u"])

    last = fn -> List.first(Nodes.call(other, Limits, :history, [1])) end
    soon(fn -> match?(%{by: "ann", diff: ^diff}, last.()) end)

    # Beside the first change, and by the other node.
    assert {:ok, [_]} =
             apply_on(other, [api: [windows: [b: [limit: 70, per: :day]]]], scope: :cluster)

    soon(fn -> limits(one)[{:api, :b}] == 70 end)
    start_on(late, server)
    soon(fn -> limits(late) == limits(one) end)
    assert %{{:api, :a} => 7, {:api, :b} => 70, {:mail, :w} => 5, {:more, :w} => 3} = limits(late)

    soon(fn ->
      map_size(stats(one).versions) == 1 and stats(one).versions |> Map.values() == [3]
    end)

    assert %{revision: 2, problem: nil} = stats(late)

    # Invalid limits, and those that deny too many ids, change nothing anywhere.
    assert {:error, [_]} =
             apply_on(one, [api: [windows: [a: [limit: 0, per: :day]]]], scope: :cluster)

    assert {:error, [_]} =
             apply_on(other, [api: [windows: [a: [limit: 1, per: :day]]]], scope: :cluster)

    assert stats(one).revision == 2

    stop_on(late)
    assert Nodes.call(one, Limits, :withdraw, []) == :ok
    start_on(late, server)
    soon(fn -> stats(late).revision == 3 end)
    assert limits(late)[{:api, :a}] == 10
    assert limits(one)[{:api, :a}] == 7
    # Nodes with other limits are seen, as in a rolling deployment.
    soon(fn -> stats(one).versions |> Map.values() |> Enum.sort() == [1, 2] end)
    assert stats(one).version != stats(late).version
  end

  test "nodes give back to a Redis what it has lost, and refuse what they cannot have", %{
    server: server
  } do
    [one, other] = Nodes.start!(2)
    start_on(one, server)

    assert {:ok, [_]} =
             apply_on(one, [mail: [windows: [w: [limit: 9, per: :day]]]], scope: :cluster)

    assert Nodes.call(one, RateLimiter, :reset, [:mail]) == :ok
    Redis.command!(server, ["FLUSHALL"])

    # One that has another algorithm there, and one that takes its limits from a source.
    window = [algorithm: :fixed_window, limit: 5, per: :day]
    start_on(other, server, limiters: [mail: [windows: [w: window]]])
    soon(fn -> stats(other).revision == 1 end)
    assert limits(other) == %{{:mail, :w} => 5}
    {:ok, _} = check(one, :mail, 1)
    [key] = Redis.command!(server, ["KEYS", "rate_limiter:{mail:*~b"])
    assert key =~ ~r/^rate_limiter:\{mail:u\}\.\d{16}:/

    stop_on(other)
    path = Path.join(System.tmp_dir!(), "cluster-#{System.unique_integer([:positive])}.json")
    File.write!(path, ~s({"mail": {"windows": {"w": {"limit": 4, "per": "day"}}}}))
    on_exit(fn -> File.rm(path) end)
    start_on(other, server, limits: {:file, path})

    assert {:error, [reason]} =
             apply_on(other, [mail: [windows: [w: [limit: 6, per: :day]]]], scope: :cluster)

    assert reason ==
             "scope: expected :node, since a source states the limits of this instance, got: :cluster"

    assert limits(other)[{:mail, :w}] == 4
  end

  test "reset/1 resets all ids on all nodes", %{server: server} do
    [one, other] = Nodes.start!(2)
    for node <- [one, other], do: start_on(node, server)
    {:ok, usage} = check(one, :mail, 5)
    {:ok, _} = check(one, :api, 5)
    assert {:error, :rate_limited, _} = check(other, :mail, 1)
    assert Nodes.call(one, RateLimiter, :reset, [:mail]) == :ok
    assert {:ok, %{remaining: 2}} = check(one, :mail, 3)
    # The other node had a denial in its memory.
    soon(fn ->
      match?({:ok, %{remaining: 2}}, Nodes.call(other, RateLimiter, :get_usage, [:mail, "u"]))
    end)

    assert {:ok, %{remaining: 0}} = check(other, :mail, 2)
    assert {:error, :rate_limited, _} = check(one, :mail, 1)
    # A receipt of before gives nothing back, and other limiters keep their usage.
    assert {:ok, %{remaining: 0, source: :redis}} = Nodes.call(one, RateLimiter, :refund, [usage])
    assert {:ok, %{remaining: 5}} = Nodes.call(other, RateLimiter, :get_usage, [:api, "u"])

    assert Nodes.call(other, RateLimiter, :reset, [:mail]) == :ok

    soon(fn ->
      match?({:ok, %{remaining: 5}}, Nodes.call(one, RateLimiter, :get_usage, [:mail, "u"]))
    end)

    # A limiter that is added again counts where the others do.
    for node <- [one, other] do
      :ok = Nodes.call(node, RateLimiter, :remove_limiter, [:mail])
      :ok = Nodes.call(node, RateLimiter, :add_limiter, [:mail, @limiters[:mail]])
      assert {:ok, _} = check(node, :mail, 1)
    end

    assert {:ok, %{remaining: 3}} = Nodes.call(one, RateLimiter, :get_usage, [:mail, "u"])
  end

  test "in an outage nothing is reset or changed", context do
    start(context, timeout: 100)
    Redis.kill(context.server)
    assert RateLimiter.reset(context.name) == {:error, :unavailable, nil}
    limits = [{context.name, [windows: [a: [limit: 2, per: {30, :day}, burst: 10]]]}]
    assert {:error, [reason]} = Limits.apply(limits, scope: :cluster, instance: context.name)
    assert reason =~ "scope: Redis has not answered: "
    assert RateLimiter.limiters(context.name)[context.name].windows[:a].limit == 1
    assert RateLimiter.stats(context.name).limits.problem
  end
end
