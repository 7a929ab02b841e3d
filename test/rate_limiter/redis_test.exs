defmodule RateLimiter.RedisTest do
  # The door over a real server: what callers, operators and the next instance see of it. That all stores answer alike is
  # for the conformance test.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias RateLimiter.Usage
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.{Credentials, Events, Heartbeat}
  alias RateLimiter.Support.Redis
  alias RateLimiter.Support.Redis.Heard

  # Nothing comes back while a test runs.
  @windows [a: [limit: 1, per: {30, :day}, burst: 10], b: [limit: 1, per: {30, :day}, burst: 20]]

  @moduletag :capture_log

  # A limiter's name is unique on a node: the test's own.
  setup context do
    {:ok, name: context.test, server: Redis.start!()}
  end

  defp start(context, store \\ [], limiter \\ []) do
    # Long enough for a busy machine: where a test is about the deadline it says so.
    store = Keyword.merge([url: Redis.url(context.server), timeout: 5_000], store)
    limiter = Keyword.merge([windows: @windows, events: :none], limiter)

    pid =
      start_supervised!(
        {RateLimiter,
         name: context.name, store: {:redis, store}, limiters: [{context.name, limiter}]}
      )

    Redis.eventually(fn -> RateLimiter.health_check(context.name) == :ok end)
    pid
  end

  defp mailbox, do: self() |> Process.info(:messages) |> elem(1)

  defp pending(name), do: RateLimiter.stats(name).pending

  defp child(supervisor, module) do
    [pid] = for {^module, pid, _, _} <- Supervisor.which_children(supervisor), do: pid
    pid
  end

  describe "a call" do
    test "is answered by Redis, and names the window that decided", %{name: name} = context do
      start(context)

      assert {:ok, %Usage{source: :redis, window: :a, max: 10, remaining: 7, windows: none}} =
               RateLimiter.check_and_track(name, "u", :a, cost: 3)

      assert none == %{}

      assert {:ok, %Usage{source: :redis, window: :a, remaining: 6, windows: windows}} =
               RateLimiter.check_and_track(name, "u")

      assert %{a: %Usage{source: :redis}, b: %Usage{source: :redis, remaining: 19}} = windows

      assert {:error, :rate_limited, %Usage{source: :redis, window: :a, retry_after_ms: wait}} =
               RateLimiter.peek(name, "u", [:a, :b], cost: 7)

      assert wait > 0
    end

    test "raises for misuse as with any store", %{name: name} = context do
      start(context)

      unknown = "unknown window :c of limiter #{inspect(name)}, its windows are :a and :b"

      for windows <- [:c, [:a, :c]],
          call <- [
            fn -> RateLimiter.check_and_track(name, "u", windows) end,
            fn -> RateLimiter.check_batch(name, [{"u", 1}], windows) end,
            fn -> RateLimiter.peek(name, "u", windows) end,
            fn -> RateLimiter.get_usage_batch(name, ["u"], windows) end,
            fn -> RateLimiter.refund(name, "u", windows) end,
            fn -> RateLimiter.reset(name, "u", windows) end
          ],
          do: assert_raise(ArgumentError, unknown, call)

      for id <- [nil, 1.5, {1, nil}],
          call <- [
            fn -> RateLimiter.check_and_track(name, id, :a) end,
            fn -> RateLimiter.check_batch(name, [{"u", 1}, {id, 1}], :a) end,
            fn -> RateLimiter.check_batch(name, [{"u", 1}, {id, 1}]) end,
            fn -> RateLimiter.get_usage_batch(name, ["u", id], :a) end,
            fn -> RateLimiter.reset(name, id) end
          ],
          do: assert_raise(ArgumentError, ~r/^(id must not be nil|expected an id)/, call)

      assert {:ok, %Usage{current: 0}} = RateLimiter.get_usage(name, "u", :a)
    end

    test "of a process that has a limiter of its own for a test stays local", context do
      %{name: name} = context
      start(context)
      Task.await(Task.async(fn -> answers_locally(name) end), :infinity)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.get_usage(name, "u")
      assert :ok = RateLimiter.update_limit(name, :a, burst: 11)
      assert {:ok, %Usage{max: 11}} = RateLimiter.get_usage(name, "u", :a)
    end

    test "is judged at the scale that is on the limit", %{name: name} = context do
      start(context)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a, cost: 2)
      :ok = RateLimiter.Core.Native.set_scale(name, 500_000)
      assert {:ok, %Usage{scale: 0.5, max: 5}} = RateLimiter.get_usage(name, "u", :a)

      assert %{scale: 0.5, windows: [a: %{limit: 1, max: 5}, b: _]} =
               RateLimiter.limiters(name)[name]
    end

    test "with thousands of entries is answered as a whole", %{name: name} = context do
      start(context)
      answers = RateLimiter.check_batch(name, for(n <- 1..3_000, do: {n, 1}), :a)

      assert Enum.uniq_by(answers, fn {:ok, usage} -> {usage.source, usage.remaining} end)
             |> length() == 1

      assert {:ok, %Usage{source: :redis, remaining: 9}} = hd(answers)
      assert {:ok, usages} = RateLimiter.get_usage_batch(name, Enum.to_list(1..3_000))

      assert usages |> Enum.map(fn {_id, usage} -> map_size(usage.windows) end) |> Enum.uniq() ==
               [2]

      assert mailbox() == []
    end

    defp answers_locally(name) do
      RateLimiter.Test.start(limiters: [{name, windows: @windows, on_outage: :deny}])
      assert {:ok, %Usage{source: :local}} = RateLimiter.check_and_track(name, "u", :a)
    end
  end

  describe "a caller" do
    test "that waits in vain is answered, and finds no message then or later", context do
      %{name: name, server: server} = context
      start(context, timeout: 50)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      Redis.freeze(server)

      for _ <- 1..3 do
        assert {:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, "u", :a)
        assert [_, _] = RateLimiter.check_batch(name, [{"u", 1}, {"v", 1}])
      end

      assert mailbox() == []
      Redis.thaw(server)
      # What was asked before the freeze is answered before what is asked now.
      Redis.eventually(fn ->
        match?({:ok, %Usage{source: :redis}}, RateLimiter.get_usage(name, "u", :a))
      end)

      assert mailbox() == []
      # Also what this node let through meanwhile is told by then.
      Redis.eventually(fn -> pending(name) == 0 end)
    end

    test "keeps its own messages, however many, in their order", %{name: name} = context do
      start(context)
      for n <- 1..100_000, do: send(self(), n)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)
      assert [{:ok, _}] = RateLimiter.check_batch(name, [{"u", 1}])
      assert mailbox() == Enum.to_list(1..100_000)
    end

    test "that is killed while it waits leaves nothing behind", context do
      %{name: name, server: server} = context
      start(context, timeout: 20_000)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      Redis.freeze(server)

      callers =
        for n <- 1..50, do: spawn(fn -> RateLimiter.check_and_track(name, {:killed, n}, :a) end)

      Redis.eventually(fn -> pending(name) == 50 end)
      for caller <- callers, do: Process.exit(caller, :kill)
      Redis.thaw(server)
      Redis.eventually(fn -> pending(name) == 0 end)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)

      # It is shown a moment after it was answered.
      Redis.eventually(fn ->
        RateLimiter.stats(name).redis.servers |> Enum.map(& &1.pending) == [0]
      end)
    end
  end

  describe "while Redis is away" do
    test ":deny says that nobody can tell, for every call", %{name: name} = context do
      start(context, [], on_outage: :deny)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      Redis.kill(context.server)

      assert {:error, :unavailable, usage} = RateLimiter.check_and_track(name, "u", :a, cost: 2)

      assert %Usage{limiter: ^name, window: :a, max: 10, remaining: 0, cost: 2, windows: none} =
               usage

      assert %{source: :fallback, retry_after_ms: 1_000} = usage
      assert none == %{}

      assert {:error, :unavailable, %Usage{windows: %{a: %Usage{max: 10}, b: %Usage{max: 20}}}} =
               RateLimiter.check_and_track(name, "u")

      assert [{:error, :unavailable, %Usage{}}, {:error, :unavailable, %Usage{}}] =
               RateLimiter.check_batch(name, [{"u", 1}, {"v", 1}], :a)

      assert {:error, :unavailable, %Usage{}} = RateLimiter.peek(name, "u", :a)
      assert {:error, :unavailable, %Usage{}} = RateLimiter.get_usage(name, "u", [:b])
      assert {:error, :unavailable, %Usage{}} = RateLimiter.refund(name, "u", :a)
      assert {:error, :unavailable, nil} = RateLimiter.reset(name, "u")
      assert {:error, :unavailable, nil} = RateLimiter.get_usage_batch(name, ["u", "v"], :a)
      assert RateLimiter.stats(name).unavailable > 0
    end

    test ":deny says so also to who waits while the limiter is removed",
         %{name: name} = context do
      start(context, [timeout: 60_000], on_outage: :deny)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      Redis.freeze(context.server)

      waiting =
        for call <- [
              fn -> RateLimiter.check_and_track(name, "u", :a) end,
              fn -> RateLimiter.peek(name, "u") end,
              fn -> hd(RateLimiter.check_batch(name, [{"u", 1}], [:a, :b])) end
            ],
            do: Task.async(call)

      Redis.eventually(fn -> pending(name) == 3 end)
      :ok = RateLimiter.remove_limiter(name)
      Redis.kill(context.server)

      for answer <- Task.await_many(waiting, 60_000),
          do: assert({:error, :unavailable, %Usage{limiter: ^name, remaining: 0}} = answer)
    end

    test ":allow lets all through", %{name: name} = context do
      start(context, [], on_outage: :allow)
      Redis.kill(context.server)

      for _ <- 1..30,
          do:
            assert({:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, "u", :a))
    end

    test ":allow lets nothing through that Redis never would, and says what it says of the rest",
         context do
      %{name: name} = context
      start(context, [], on_outage: :allow)
      Redis.kill(context.server)

      for cost <- [11, -1, 2 ** 70],
          call <- [&RateLimiter.peek/4, &RateLimiter.check_and_track/4] do
        assert {:error, :rate_limited, %Usage{retry_after_ms: :infinity}} =
                 call.(name, "u", :a, cost: cost)
      end

      for {cost, remaining} <- [{4, 6}, {10, 0}, {1, 0}],
          call <- [&RateLimiter.peek/4, &RateLimiter.check_and_track/4] do
        assert {:ok, %Usage{source: :fallback, remaining: ^remaining, retry_after_ms: 0}} =
                 call.(name, "u", :a, cost: cost)
      end
    end

    test "a node that starts has its share of the configured nodes", context do
      %{name: name, server: server} = context
      Redis.kill(server)

      start_supervised!(
        {RateLimiter,
         name: name,
         store: {:redis, url: Redis.url(server), nodes: 2},
         limiters: [{name, windows: [a: [limit: 10, per: {30, :day}]]}]}
      )

      assert {:degraded, {:redis, _why}} = RateLimiter.health_check(name)

      admitted =
        Enum.count(1..10, fn _ ->
          match?({:ok, %Usage{source: :fallback}}, RateLimiter.check_and_track(name, "u", :a))
        end)

      assert admitted == 5
    end

    test "events tell of the connection, the breaker and who answers", context do
      %{name: name, server: server} = context
      Heard.listen(name)
      start(context)
      address = "127.0.0.1:#{server.port}"

      assert_receive {:event, [:rate_limiter, :redis, :connection], %{count: 1},
                      %{server: ^address, change: :up, reason: nil}},
                     30_000

      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)

      assert_receive {:event, [:rate_limiter, :redis, :command], %{calls: 1, missed: 0} = batch,
                      %{server: ^address, result: :ok, reason: nil}},
                     30_000

      assert batch.duration_us >= 0
      Redis.kill(server)

      assert_receive {:event, [:rate_limiter, :redis, :connection], _,
                      %{server: ^address, change: :down, reason: reason}},
                     30_000

      assert is_binary(reason)

      for _ <- 1..10,
          do: {:ok, %Usage{source: :fallback}} = RateLimiter.check_and_track(name, {"u", 1})

      assert_receive {:event, [:rate_limiter, :fallback, :started], %{count: 1},
                      %{limiter: ^name, on_outage: :share, nodes: 1}},
                     30_000

      assert_receive {:event, [:rate_limiter, :circuit_breaker, :opened], %{count: 1},
                      %{server: ^address, from: :closed}},
                     30_000

      assert {:degraded, {:redis, [%{server: ^address, problem: problem}]}} =
               RateLimiter.health_check(name)

      assert is_binary(problem)

      Redis.restart!(server)

      assert_receive {:event, [:rate_limiter, :circuit_breaker, :closed], _,
                      %{server: ^address, from: :half_open}},
                     30_000

      Redis.eventually(fn ->
        match?({:ok, %Usage{source: :redis}}, RateLimiter.check_and_track(name, "v", :b))
      end)

      assert_receive {:event, [:rate_limiter, :fallback, :stopped], _, %{limiter: ^name}}, 30_000
      Redis.eventually(fn -> RateLimiter.health_check(name) == :ok end)
    end
  end

  describe "a key that holds what no limiter wrote" do
    test "is left alone and told of, while the server serves others", %{name: name} = context do
      Heard.listen(name)
      server = context.server
      start(context)
      {:ok, %{source: :redis}} = RateLimiter.check_and_track(name, "mine", :a)
      [key] = Redis.keys(server)
      Redis.command!(server, ["DEL", key])
      Redis.command!(server, ["LPUSH", key, "theirs"])

      # An event is only made where it is known that somebody listens.
      Redis.eventually(fn ->
        assert {:ok, %{source: :fallback}} =
                 RateLimiter.check_and_track(name, "mine", :a, cost: 0)

        receive do
          {:event, [:rate_limiter, :redis, :command], _, %{reason: "WRONGTYPE", result: :error}} ->
            true
        after
          10 -> false
        end
      end)

      assert Redis.command!(server, ["TYPE", key]) == "list"
      assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(name, "other", :a)
      assert RateLimiter.health_check(name) == :ok
      assert %{refused: refused, opened: 0} = RateLimiter.stats(name).redis
      assert refused > 0
    end
  end

  describe "credentials" do
    @user "limiter on ~rate_limiter:* &* +@all"

    setup %{server: server} do
      Redis.command!(server, ["CONFIG", "SET", "requirepass", "first secret"])
      {:ok, server: %{server | user: {"default", "first secret"}}}
    end

    test "come from a function, which is asked again when the connection is lost", context do
      %{name: name, server: server} = context
      passwords = start_supervised!({Agent, fn -> "first secret" end})
      start(context, password: fn -> Agent.get(passwords, & &1) end)
      {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)

      Agent.update(passwords, fn _ -> "second secret" end)
      Redis.command!(server, ["CONFIG", "SET", "requirepass", "second secret"])
      server = %{server | user: {"default", "second secret"}}
      Redis.command!(server, ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])

      Redis.eventually(fn ->
        match?({:ok, %Usage{source: :redis}}, RateLimiter.check_and_track(name, "v", :b))
      end)
    end

    test "may come later than the store", %{name: name} = context do
      passwords = start_supervised!({Agent, fn -> nil end})
      Heard.listen(name)
      store = [url: Redis.url(context.server), password: fn -> Agent.get(passwords, & &1) end]

      start_supervised!(
        {RateLimiter, name: name, store: {:redis, store}, limiters: [{name, windows: @windows}]}
      )

      assert_receive {:event, [:rate_limiter, :redis, :connection], _,
                      %{
                        server: nil,
                        change: :failed,
                        reason: "no password: the function did not return a string"
                      }},
                     30_000

      Agent.update(passwords, fn _ -> "first secret" end)
      Redis.eventually(fn -> RateLimiter.health_check(name) == :ok end)
    end

    test "can be replaced at run time, also by another user's", context do
      %{name: name, server: server} = context
      start(context, password: "first secret")
      Redis.command!(server, ["ACL", "SETUSER" | String.split(@user)] ++ [">third secret"])

      assert :ok =
               RateLimiter.Redis.put_credentials(
                 [username: "limiter", password: "third secret"],
                 name
               )

      Redis.eventually(fn -> "limiter" in users(server) end)
      {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)
      # Who reads them crashes, and still knows the new ones.
      pid = Registry.whereis({:credentials, table(name)})
      Process.exit(pid, :kill)
      Redis.eventually(fn -> Registry.whereis({:credentials, table(name)}) not in [nil, pid] end)
      Redis.command!(server, ["CLIENT", "KILL", "USER", "limiter"])
      Redis.eventually(fn -> "limiter" in users(server) end)
    end

    test "that are wrong are refused in words", %{name: name} = context do
      start(context, password: "first secret")
      put = &RateLimiter.Redis.put_credentials(&1, name)

      assert_raise ArgumentError,
                   "password: is required, expected a string, a zero-arity function, or {:system, name}",
                   fn -> put.([]) end

      assert_raise ArgumentError,
                   "password: expected a string, a zero-arity function, or {:system, name} (value hidden)",
                   fn -> put.(password: :secret) end

      assert_raise ArgumentError, "password: the function raised RuntimeError", fn ->
        put.(password: fn -> raise "secret" end)
      end

      assert_raise ArgumentError,
                   "options: expected a keyword list with :password (value hidden)",
                   fn -> put.("secret") end

      RateLimiter.Test.start(name: :of_a_test, limiters: [])

      assert_raise ArgumentError,
                   "the instance :of_a_test has no Redis, its store is :local",
                   fn ->
                     RateLimiter.Redis.put_credentials([password: "secret"], :of_a_test)
                   end
    end

    test "are visible nowhere", %{name: name, server: server} = context do
      Heard.listen(name)

      log =
        capture_log(fn ->
          supervisor = start(context, url: "redis://:first%20secret@127.0.0.1:#{server.port}")
          {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
          seen = fn term -> inspect(term, limit: :infinity, structs: false) end

          for {_id, pid, _type, _modules} <- Supervisor.which_children(supervisor),
              is_pid(pid) do
            refute seen.(:sys.get_status(pid)) =~ "secret"
            refute seen.(:sys.get_state(pid)) =~ "secret"
          end

          refute seen.(:sys.get_status(supervisor)) =~ "secret"
          refute seen.(:ets.tab2list(table(name))) =~ "secret"
          refute seen.(RateLimiter.stats(name)) =~ "secret"
          refute seen.(RateLimiter.limiters(name)) =~ "secret"

          # A password that is wrong is not told either.
          RateLimiter.Redis.put_credentials([password: "wrong secret"], name)
          Redis.command!(server, ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])

          assert_receive {:event, [:rate_limiter, :redis, :connection], _, %{change: :refused}},
                         30_000

          refute seen.(RateLimiter.health_check(name)) =~ "secret"
          for event <- mailbox(), do: refute(seen.(event) =~ "secret")

          for module <- [Credentials, Events, Heartbeat],
              do: Process.exit(child(supervisor, module), :crash)
        end)

      refute log =~ "secret"
    end

    defp table(name), do: Registry.instance(name).table

    defp users(server) do
      for line <- server |> Redis.command!(["CLIENT", "LIST"]) |> String.split("\n", trim: true),
          do: Regex.run(~r/ user=(\S+)/, line) |> List.last()
    end
  end

  describe "an instance" do
    test "tells how it goes", %{name: name, server: server} = context do
      start(context)
      # To connect may have taken a busy machine too long.
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

      assert calls >= 2 and batches in 1..calls
      assert %{checks: 2, away?: false} = stats.limiters[name]

      assert [{^name, %{on_outage: :share, windows: [a: %{max: 10}, b: %{max: 20}]}}] =
               RateLimiter.limiters(name)
    end

    test "tells it as an event, too", %{name: name} = context do
      Heard.listen(name, [[:rate_limiter, :stats]])
      options = [store: {:redis, url: Redis.url(context.server)}, stats_interval: 1]

      start_supervised!(
        {RateLimiter, [name: name, limiters: [{name, windows: @windows}]] ++ options}
      )

      assert_receive {:event, _, measurements, %{store: :redis, redis: %{servers: _}} = metadata},
                     30_000

      assert Enum.all?(measurements, fn {_key, value} -> is_integer(value) end)
      assert %{^name => %{away?: false}} = metadata.limiters
      assert metadata.breaker in [:closed, :half_open, :opened, nil]

      Redis.kill(context.server)
      Redis.eventually(fn -> RateLimiter.stats(name).breaker == :opened end)
    end

    test "adds, changes and removes limiters", %{name: name} = context do
      start(context)
      added = :"added to #{name}"
      :ok = RateLimiter.add_limiter(added, [windows: @windows], name)

      {:ok, %Usage{source: :redis, remaining: 4}} =
        RateLimiter.check_and_track(added, "u", :a, cost: 6)

      :ok = RateLimiter.update_limit(added, :a, burst: 8)
      assert {:ok, %Usage{max: 8, remaining: 2}} = RateLimiter.get_usage(added, "u", :a)

      assert %{windows: [a: %{burst: 8, max: 8}, b: _]} = RateLimiter.limiters(name)[added]

      :ok = RateLimiter.remove_limiter(added)

      assert_raise ArgumentError, ~r/^unknown limiter/, fn ->
        RateLimiter.check_and_track(added, "u", :a)
      end

      # What was used stays in Redis, for the other nodes.
      :ok = RateLimiter.add_limiter(added, [windows: @windows], name)
      assert {:ok, %Usage{remaining: 4}} = RateLimiter.get_usage(added, "u", :a)
    end

    test "leaves Redis when it stops: its connections, and its place among the nodes", context do
      %{name: name, server: server} = context
      start(context)
      Redis.eventually(fn -> nodes(server) == 1 end)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      assert clients(server) > 1
      :ok = stop_supervised!(name)
      Redis.eventually(fn -> nodes(server) == 0 end)
      # The one that asks is left.
      Redis.eventually(fn -> clients(server) == 1 end)
    end

    test "that is killed closes its connections", %{name: name, server: server} = context do
      {:ok, pid} =
        RateLimiter.start_link(
          name: name,
          store: {:redis, url: Redis.url(server)},
          limiters: [{name, windows: @windows}]
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

    test "outlives each of its processes, and counts on", %{name: name} = context do
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

  describe "a limit that does not fit Redis's numbers" do
    test "is refused at start, on adding and on changing, with the reason", context do
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
