defmodule RateLimiter.Redis.CallsTest do
  # Calls that Redis decides. The conformance test covers that all stores return the same answers.
  use RateLimiter.Support.Redis.Case, async: true

  describe "a call" do
    test "is decided by Redis and returns the window that decided", %{name: name} = context do
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

    test "raises the same errors for invalid arguments as with a local store",
         %{name: name} = context do
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

    test "is decided locally in a process with a test's limiter of this name", context do
      %{name: name} = context
      start(context)
      Task.await(Task.async(fn -> answers_locally(name) end), :infinity)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.get_usage(name, "u")
      assert :ok = RateLimiter.update_limit(name, :a, burst: 11)
      assert {:ok, %Usage{max: 11}} = RateLimiter.get_usage(name, "u", :a)
    end

    test "is decided at the current scale of the limit", %{name: name} = context do
      start(context)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a, cost: 2)
      :ok = RateLimiter.Core.Native.set_scale(name, 500_000)
      assert {:ok, %Usage{scale: 0.5, max: 5}} = RateLimiter.get_usage(name, "u", :a)

      assert %{scale: 0.5, windows: [a: %{limit: 1, max: 5}, b: _]} =
               RateLimiter.limiters(name)[name]
    end

    test "answers a batch of thousands of entries as a whole", %{name: name} = context do
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
      RateLimiter.Test.start(limiters: [{name, windows: windows(), on_outage: :deny}])
      assert {:ok, %Usage{source: :local}} = RateLimiter.check_and_track(name, "u", :a)
    end
  end

  describe "a waiting caller" do
    test "is answered after its deadline and leaves no late message", context do
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
      # Calls from before the freeze are answered before later ones.
      Redis.eventually(fn ->
        match?({:ok, %Usage{source: :redis}}, RateLimiter.get_usage(name, "u", :a))
      end)

      assert mailbox() == []
      # By then the backlog of this node is reported, too.
      Redis.eventually(fn -> RateLimiter.stats(name).pending == 0 end)
    end

    test "keeps the messages of the caller in their order", %{name: name} = context do
      start(context)
      for n <- 1..100_000, do: send(self(), n)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)
      assert [{:ok, _}] = RateLimiter.check_batch(name, [{"u", 1}])
      assert mailbox() == Enum.to_list(1..100_000)
    end

    test "leaves nothing pending when waiting callers are killed", context do
      %{name: name, server: server} = context
      start(context, timeout: 20_000)
      {:ok, _} = RateLimiter.check_and_track(name, "u", :a)
      Redis.freeze(server)

      callers =
        for n <- 1..50, do: spawn(fn -> RateLimiter.check_and_track(name, {:killed, n}, :a) end)

      Redis.eventually(fn -> RateLimiter.stats(name).pending == 50 end)
      for caller <- callers, do: Process.exit(caller, :kill)
      Redis.thaw(server)
      Redis.eventually(fn -> RateLimiter.stats(name).pending == 0 end)
      assert {:ok, %Usage{source: :redis}} = RateLimiter.check_and_track(name, "u", :a)

      # The status is updated shortly after the answer.
      Redis.eventually(fn ->
        RateLimiter.stats(name).redis.servers |> Enum.map(& &1.pending) == [0]
      end)
    end
  end

  describe "a key with a value that no limiter wrote" do
    test "is not changed and is reported, and other keys are served", %{name: name} = context do
      Heard.listen(name)
      server = context.server
      start(context)
      {:ok, %{source: :redis}} = RateLimiter.check_and_track(name, "mine", :a)
      [key] = Redis.keys(server)
      Redis.command!(server, ["DEL", key])
      Redis.command!(server, ["LPUSH", key, "theirs"])

      # The client sends events shortly after a handler was attached.
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
end
