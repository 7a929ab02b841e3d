defmodule RateLimiter.ConformanceTest do
  # The behaviour of every store: the memory of this node, and each Redis server that nodes share.
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Redis

  # No token returns while a test runs.
  @buckets [limit: 1, per: {30, :day}]
  @algorithms [
    token_bucket: @buckets,
    sliding_window: [algorithm: :sliding_window],
    sliding_log: [algorithm: :sliding_log],
    fixed_window: [algorithm: :fixed_window, aligned: false]
  ]
  @ids [
    1,
    "1",
    :"1",
    {1},
    [1],
    {"1"},
    -1,
    "",
    "{",
    "}",
    "{1}",
    "a:b",
    "a b",
    "a\r\nb",
    <<0>>,
    <<255>>,
    "é",
    [],
    {}
  ]

  for store <- [:local | Redis.programs()] do
    describe "#{store}" do
      @describetag store: store

      setup %{store: store} = context do
        limiter = :"conformance #{store} #{context.line}"
        options = start_store(store)

        windows =
          for {algorithm, options} <- @algorithms,
              do:
                {algorithm,
                 Keyword.merge([limit: 50, per: {30, :day}], options) |> full(algorithm)}

        start_supervised!(
          {RateLimiter,
           name: limiter,
           store: options[:store],
           stats_interval: :infinity,
           limiters: [{limiter, windows: windows, events: :none}]}
        )

        if options[:server], do: Redis.ready!(limiter, :token_bucket)
        {:ok, limiter: limiter, source: options[:source]}
      end

      test "a window in shadow mode admits what it would deny, and counts as if it was enforced",
           %{limiter: limiter} do
        for {window, _options} <- @algorithms do
          :ok = RateLimiter.update_limit(limiter, window, enforce: false)
          assert {:ok, %{would_deny: false}} = check(limiter, window, cost: 48)
          assert {:ok, %{would_deny: true} = usage} = check(limiter, window, cost: 3)
          assert {usage.remaining, usage.retry_after_ms > 0} == {2, true}
          # What it did not take is not given back.
          assert {:ok, %{remaining: 2}} = RateLimiter.refund(usage)
          assert {:ok, %{would_deny: true}} = RateLimiter.peek(limiter, 1, window, cost: 3)

          assert {:ok, %{would_deny: true, retry_after_ms: :infinity}} =
                   check(limiter, window, cost: 51)

          assert {:ok, %{would_deny: false, remaining: 0}} = check(limiter, window, cost: 2)
          :ok = RateLimiter.update_limit(limiter, window, enforce: true)
          assert {:rate_limited, %{would_deny: false}} = check(limiter, window, cost: 1)

          assert %{allowed: 4, denied: 1, would_deny: 2} =
                   RateLimiter.stats(limiter).limiters[limiter].windows[window]
        end
      end

      test "a call is denied by the windows that are enforced, and its usage is theirs",
           %{limiter: limiter} do
        :ok = RateLimiter.update_limit(limiter, :fixed_window, enforce: false)
        windows = [:token_bucket, :fixed_window]
        {:ok, _usage} = check(limiter, :fixed_window, cost: 45)

        assert {:ok, %{window: :token_bucket, would_deny: true, remaining: 44} = usage} =
                 check(limiter, windows, cost: 6)

        assert {usage.windows.token_bucket.would_deny, usage.windows.fixed_window.would_deny} ==
                 {false, true}

        assert usage.windows.fixed_window.remaining == 5

        # A refund gives back to the window that was charged.
        assert {:ok, %{remaining: 50}} = RateLimiter.refund(usage)
        assert {:ok, %{remaining: 5}} = RateLimiter.get_usage(limiter, 1, :fixed_window)

        assert {:rate_limited, %{window: :token_bucket, would_deny: false}} =
                 check(limiter, windows, cost: 51)

        assert {:ok, %{remaining: 5}} = RateLimiter.get_usage(limiter, 1, :fixed_window)
        options = [cost: 6, request_id: "shadow"]
        assert {:ok, %{would_deny: true, remaining: 44}} = check(limiter, windows, options)
        assert {:ok, %{would_deny: false, remaining: 44}} = check(limiter, windows, options)
      end

      test "names the source of an answer", %{limiter: limiter, source: source} do
        assert {:ok, %{source: ^source, remaining: 49}} =
                 RateLimiter.check_and_track(limiter, "id", :token_bucket)

        assert {:ok, %{source: ^source}} = RateLimiter.get_usage(limiter, "id", :token_bucket)
      end

      for {algorithm, _} <- @algorithms do
        test "#{algorithm}: concurrent callers are admitted up to the limit", %{
          limiter: limiter
        } do
          algorithm = unquote(algorithm)

          admitted =
            1..16
            |> Enum.map(fn _process ->
              Task.async(fn ->
                Enum.count(1..10, fn _call ->
                  match?({:ok, _}, RateLimiter.check_and_track(limiter, :hot, algorithm))
                end)
              end)
            end)
            |> Task.await_many(:infinity)
            |> Enum.sum()

          assert admitted == 50

          assert {:error, :rate_limited, %{remaining: 0, current: 50, max: 50}} =
                   RateLimiter.check_and_track(limiter, :hot, algorithm)
        end

        test "#{algorithm}: costs, refunds, peeks and resets", %{limiter: limiter} do
          window = unquote(algorithm)

          assert {:ok, %{remaining: 20, cost: 30}} =
                   RateLimiter.check_and_track(limiter, 1, window, cost: 30)

          assert {:error, :rate_limited, %{remaining: 20, retry_after_ms: wait}} =
                   RateLimiter.check_and_track(limiter, 1, window, cost: 21)

          assert is_integer(wait) and wait > 0

          {:ok, %{next_after_ms: next, reset_after_ms: reset}} =
            RateLimiter.get_usage(limiter, 1, window)

          assert next in 1..wait and next <= reset
          assert {:ok, %{remaining: 0}} = RateLimiter.peek(limiter, 1, window, cost: 20)

          assert {:ok, %{remaining: 20}} =
                   RateLimiter.check_and_track(limiter, 1, window, cost: 0)

          assert {:ok, %{remaining: 25}} = RateLimiter.refund(limiter, 1, window, cost: 5)

          assert {:ok, %{remaining: 50, next_after_ms: 0}} =
                   RateLimiter.refund(limiter, 1, window, cost: 1_000)

          assert {:ok, %{remaining: 0}} =
                   RateLimiter.check_and_track(limiter, 1, window, cost: 50)

          assert :ok = RateLimiter.reset(limiter, 1, window)
          assert {:ok, %{remaining: 50, current: 0}} = RateLimiter.get_usage(limiter, 1, window)
        end

        test "#{algorithm}: a cost above the maximum is never admitted", %{limiter: limiter} do
          for cost <- [51, -1, 0x7FFF_FFFF_FFFF_FFFF, 2 ** 80] do
            assert {:error, :rate_limited, %{retry_after_ms: :infinity, remaining: 50}} =
                     RateLimiter.check_and_track(limiter, 1, unquote(algorithm), cost: cost)
          end
        end

        test "#{algorithm}: a changed limit keeps what was used", %{limiter: limiter} do
          window = unquote(algorithm)
          {:ok, _usage} = RateLimiter.check_and_track(limiter, 1, window, cost: 20)
          :ok = RateLimiter.update_limit(limiter, window, change(window, 30))
          assert {:ok, %{max: 30, remaining: 10}} = RateLimiter.get_usage(limiter, 1, window)
          :ok = RateLimiter.update_limit(limiter, window, change(window, 100))
          assert {:ok, %{max: 100, remaining: 80}} = RateLimiter.get_usage(limiter, 1, window)
        end
      end

      test "several windows are charged together or not at all", %{limiter: limiter} do
        windows = Keyword.keys(@algorithms)
        {:ok, _usage} = RateLimiter.check_and_track(limiter, 1, :sliding_log, cost: 45)

        assert {:error, :rate_limited, %{window: :sliding_log, windows: each}} =
                 RateLimiter.check_and_track(limiter, 1, windows, cost: 6)

        assert for({name, usage} <- each, do: {name, usage.remaining}) |> Enum.sort() ==
                 [fixed_window: 50, sliding_log: 5, sliding_window: 50, token_bucket: 50]

        assert {:ok, %{window: :sliding_log, remaining: 0, windows: each}} =
                 RateLimiter.check_and_track(limiter, 1, cost: 5)

        assert each.token_bucket.remaining == 45
        assert :ok = RateLimiter.reset(limiter, 1)
        assert {:ok, %{remaining: 50}} = RateLimiter.get_usage(limiter, 1)
      end

      test "concurrent callers are charged in all windows or in none", %{limiter: limiter} do
        # Half of the callers take both windows, half only one: the counts agree only if each call is one step.
        take = fn windows -> RateLimiter.check_and_track(limiter, :hot, windows, cost: 3) end

        answers =
          1..40
          |> Enum.map(fn n ->
            windows = if rem(n, 2) == 0, do: [:token_bucket, :fixed_window], else: [:token_bucket]
            Task.async(fn -> {windows, elem(take.(windows), 0)} end)
          end)
          |> Task.await_many(:infinity)

        both = Enum.count(answers, &match?({[_, _], :ok}, &1))
        one = Enum.count(answers, &match?({[_], :ok}, &1))
        assert both + one == 16
        {:ok, usage} = RateLimiter.get_usage(limiter, :hot, [:token_bucket, :fixed_window])
        assert usage.windows.token_bucket.current == 48
        assert usage.windows.fixed_window.current == 3 * both
      end

      test "different ids are counted separately", %{limiter: limiter} do
        long = String.duplicate("x", 100_000)
        ids = @ids ++ [long, long <> "y", String.duplicate("z", 300)]

        for {id, index} <- Enum.with_index(ids, 1),
            do:
              {:ok, _usage} = RateLimiter.check_and_track(limiter, id, :token_bucket, cost: index)

        {:ok, usages} = RateLimiter.get_usage_batch(limiter, ids, :token_bucket)
        assert for({_id, usage} <- usages, do: usage.current) == Enum.to_list(1..length(ids))
        assert Enum.map(usages, &elem(&1, 0)) == ids
      end

      test "a batch returns the same answers as single calls", %{limiter: limiter} do
        entries = for n <- 1..60, do: {rem(n, 3), rem(n, 5)}
        batch = RateLimiter.check_batch(limiter, entries, :sliding_window)

        singles =
          for {id, cost} <- entries,
              do: RateLimiter.check_and_track(limiter, {:single, id}, :sliding_window, cost: cost)

        assert Enum.map(batch, &outline/1) == Enum.map(singles, &outline/1)
      end

      test "a batch over several windows returns the same answers as single calls", %{
        limiter: limiter
      } do
        entries = for n <- 1..30, do: {rem(n, 2), rem(n, 7)}
        batch = RateLimiter.check_batch(limiter, entries, [:token_bucket, :fixed_window])

        singles =
          for {id, cost} <- entries,
              do:
                RateLimiter.check_and_track(
                  limiter,
                  {:single, id},
                  [:token_bucket, :fixed_window],
                  cost: cost
                )

        assert Enum.map(batch, &outline/1) == Enum.map(singles, &outline/1)
      end

      test "a repeated request id is charged once", %{limiter: limiter} do
        for _retry <- 1..3 do
          assert {:ok, %{remaining: 40}} =
                   RateLimiter.check_and_track(limiter, 1, :token_bucket,
                     cost: 10,
                     request_id: "a"
                   )
        end

        assert {:ok, %{remaining: 30}} =
                 RateLimiter.check_and_track(limiter, 1, :token_bucket, cost: 10, request_id: "b")
      end

      test "a request id names one call, with its cost and its windows", %{limiter: limiter} do
        left = fn windows, cost ->
          options = [cost: cost, request_id: "a"]
          {verdict, usage} = check(limiter, windows, options)
          left = for {name, usage} <- usage.windows, do: {name, usage.remaining}
          {verdict, Enum.sort(left)}
        end

        assert {:ok, [token_bucket: 49]} = left.([:token_bucket], 1)
        assert {:rate_limited, [token_bucket: 49]} = left.([:token_bucket], 5_000)
        assert {:ok, [token_bucket: 44]} = left.([:token_bucket], 5)
        assert {:ok, [sliding_log: 49]} = left.([:sliding_log], 1)

        assert {:ok, [sliding_log: 48, token_bucket: 43]} =
                 left.([:token_bucket, :sliding_log], 1)

        assert {:ok, [sliding_log: 48, token_bucket: 43]} =
                 left.([:sliding_log, :token_bucket], 1)

        assert {:ok, [token_bucket: 43]} = left.([:token_bucket], 1)
      end

      test "a reset or a refund ends the request ids of its id", %{limiter: limiter} do
        options = [cost: 10, request_id: "a"]

        for finish <- [
              fn -> RateLimiter.reset(limiter, 1, :token_bucket) end,
              fn -> RateLimiter.refund(limiter, 1, :token_bucket, cost: 10) end
            ] do
          for _retry <- 1..2,
              do: assert({:ok, %{remaining: 40}} = check(limiter, :token_bucket, options))

          finish.()
          assert {:ok, %{remaining: 50}} = RateLimiter.get_usage(limiter, 1, :token_bucket)
        end

        assert {:ok, %{remaining: 40}} = check(limiter, :token_bucket, options)
      end

      test "a receipt gives back what its call was charged, once", %{limiter: limiter} do
        {:ok, first} = RateLimiter.check_and_track(limiter, 1, cost: 10)
        {:ok, _other} = RateLimiter.check_and_track(limiter, 1, cost: 20)
        assert left(RateLimiter.refund(first, cost: 4)) == [24]
        assert left(RateLimiter.refund(first, cost: -1)) == [24]
        assert left(RateLimiter.refund(first, cost: 0)) == [24]
        assert left(RateLimiter.refund(first)) == [30]
        assert left(RateLimiter.refund(first)) == [30]
        assert left(RateLimiter.refund(first, cost: 2 ** 80)) == [30]
        assert {:ok, %{cost: 3, receipt: nil}} = RateLimiter.refund(first, cost: 3)
      end

      test "each answer has a receipt of its own", %{limiter: limiter} do
        entries = List.duplicate({1, 5}, 4)

        usages =
          for {:ok, usage} <- RateLimiter.check_batch(limiter, entries, [:sliding_window]),
              do: usage

        for {usage, number} <- Enum.with_index(usages, 1) do
          assert {:ok, %{remaining: remaining}} = RateLimiter.refund(usage)
          assert remaining == 30 + 5 * number
          assert {:ok, %{remaining: ^remaining}} = RateLimiter.refund(usage)
        end
      end

      test "a receipt ends with a reset and with a refund of any call", %{limiter: limiter} do
        for finish <- [
              fn -> RateLimiter.reset(limiter, 1) end,
              fn -> RateLimiter.refund(limiter, 1, cost: 10) end
            ] do
          {:ok, usage} = RateLimiter.check_and_track(limiter, 1, cost: 10)
          finish.()
          {:ok, other} = RateLimiter.check_and_track(limiter, 1, cost: 20)
          assert left(RateLimiter.refund(usage)) == [30]
          assert left(RateLimiter.refund(other)) == [50]
        end
      end

      test "a receipt ends when its limit changes", %{limiter: limiter} do
        {:ok, usage} = RateLimiter.check_and_track(limiter, 1, :fixed_window, cost: 10)
        :ok = RateLimiter.update_limit(limiter, :fixed_window, limit: 40)
        assert {:ok, %{remaining: 30, max: 40}} = RateLimiter.refund(usage)
      end

      test "a call that was charged nothing gives nothing back", %{limiter: limiter} do
        {:ok, _charged} = check(limiter, :sliding_log, cost: 10, request_id: "a")
        {:ok, repeated} = check(limiter, :sliding_log, cost: 10, request_id: "a")
        {:ok, free} = check(limiter, :sliding_log, cost: 0)

        for usage <- [repeated, free],
            do: assert({:ok, %{remaining: 40}} = RateLimiter.refund(usage))
      end

      test "a receipt ends the request id of its call alone", %{limiter: limiter} do
        {:ok, first} = check(limiter, :token_bucket, cost: 10, request_id: "a")
        {:ok, _second} = check(limiter, :token_bucket, cost: 10, request_id: "b")
        assert {:ok, %{remaining: 40}} = RateLimiter.refund(first)
        assert {:ok, %{remaining: 40}} = check(limiter, :token_bucket, cost: 10, request_id: "b")
        assert {:ok, %{remaining: 30}} = check(limiter, :token_bucket, cost: 10, request_id: "a")
        assert {:ok, %{remaining: 30}} = RateLimiter.refund(first)
        assert {:ok, %{remaining: 30}} = check(limiter, :token_bucket, cost: 10, request_id: "a")
      end

      test "only the usage of an admitted call is a receipt", %{limiter: limiter} do
        {:ok, charged} = RateLimiter.check_and_track(limiter, "ann", [:token_bucket], cost: 10)
        {:rate_limited, denied} = check(limiter, :token_bucket, cost: 51)
        {:ok, peeked} = RateLimiter.peek(limiter, 1, :token_bucket)
        {:ok, refunded} = RateLimiter.refund(charged)

        for usage <- [denied, peeked, refunded, charged.windows.token_bucket] do
          assert_raise ArgumentError,
                       ~r/^expected the usage of an admitted call, got one of /,
                       fn ->
                         RateLimiter.refund(usage)
                       end
        end

        assert_raise ArgumentError, ~r/^cost: expected an integer/, fn ->
          RateLimiter.refund(charged, cost: :all)
        end

        refute inspect(charged) =~ "ann"
      end

      test "a request id with cost 0 is charged when it takes", %{limiter: limiter} do
        for {cost, remaining} <- [{0, 50}, {10, 40}, {10, 40}] do
          assert {:ok, %{remaining: ^remaining}} =
                   RateLimiter.check_and_track(limiter, 1, :token_bucket,
                     cost: cost,
                     request_id: "a"
                   )
        end
      end

      test "an empty batch raises for an unknown window", %{limiter: limiter} do
        assert RateLimiter.check_batch(limiter, [], :token_bucket) == []
        assert RateLimiter.get_usage_batch(limiter, [], [:token_bucket]) == {:ok, []}
        assert RateLimiter.get_usage_batch(limiter, []) == {:ok, []}

        for call <- [&RateLimiter.check_batch/3, &RateLimiter.get_usage_batch/3] do
          assert_raise ArgumentError, ~r/^unknown window :none of limiter /, fn ->
            call.(limiter, [], :none)
          end
        end
      end
    end
  end

  for program <- Redis.programs() do
    describe "#{program} receives" do
      setup do
        server = Redis.start!(program: unquote(program))
        limiter = :"seen by #{unquote(program)}"

        start_supervised!(
          {RateLimiter,
           name: limiter,
           store: {:redis, url: Redis.url(server), timeout: 10_000},
           stats_interval: :infinity,
           limiters: [
             {limiter, windows: [a: [limit: 50, per: :hour], b: [limit: 50, per: :hour]]}
           ]}
        )

        Redis.ready!(limiter, :a)
        {:ok, server: server, limiter: limiter}
      end

      test "one script for all calls of a batch", %{server: server, limiter: limiter} do
        {:ok, _usage} = RateLimiter.check_and_track(limiter, 0)
        before = scripts(server)
        ids = Enum.to_list(1..200)
        answers = RateLimiter.check_batch(limiter, Enum.map(ids, &{&1, 1}))
        assert Enum.all?(answers, &match?({:ok, %{source: :redis}}, &1))
        assert scripts(server) - before == 1

        {:ok, usages} = RateLimiter.get_usage_batch(limiter, ids, :a)
        assert Enum.all?(usages, fn {_id, usage} -> usage.current == 1 end)
        assert scripts(server) - before == 2
      end

      test "each call of a batch that needs several scripts", %{limiter: limiter} do
        answers = RateLimiter.check_batch(limiter, for(n <- 1..1_000, do: {rem(n, 40), 1}), :a)
        assert Enum.all?(answers, &match?({:ok, %{source: :redis}}, &1))
      end

      test "keys that have the prefix, share a slot and expire", %{
        server: server,
        limiter: limiter
      } do
        {:ok, _usage} = RateLimiter.check_and_track(limiter, "some id")
        keys = Redis.keys(server)
        assert length(keys) == 2
        assert Enum.all?(keys, &String.starts_with?(&1, "rate_limiter:{"))
        assert [_one] = keys |> Enum.map(&Regex.run(~r/\{.*\}/, &1)) |> Enum.uniq()
        for key <- keys, do: assert(Redis.command!(server, ["PTTL", key]) > 0)
      end

      test "a key with a value of another program, and does not overwrite it", %{
        server: server,
        limiter: limiter
      } do
        {:ok, _usage} = RateLimiter.check_and_track(limiter, "x", :a)
        [key] = Redis.keys(server)
        Redis.command!(server, ["DEL", key])
        Redis.command!(server, ["LPUSH", key, "a list"])
        # Neither Redis nor a denial answers: this node decides alone.
        assert {:ok, %{source: :fallback}} = RateLimiter.check_and_track(limiter, "x", :a)
        assert Redis.command!(server, ["TYPE", key]) == "list"
        assert {:ok, %{source: :redis}} = RateLimiter.check_and_track(limiter, "y", :a)
      end
    end
  end

  defp start_store(:local), do: [store: :local, source: :local]

  defp start_store(program) do
    server = Redis.start!(program: program)
    # A busy machine must not look like an outage.
    [store: {:redis, url: Redis.url(server), timeout: 10_000}, server: server, source: :redis]
  end

  # A bucket that gets one token a month, so that its rate does not matter.
  defp full(options, :token_bucket), do: Keyword.merge(options, limit: 1, burst: 50)
  defp full(options, _algorithm), do: options

  defp change(:token_bucket, max), do: [burst: max]
  defp change(_algorithm, max), do: [limit: max]

  # What is left of each window, if that is one number.
  defp left({:ok, usage}),
    do: Enum.uniq(for {_name, window} <- usage.windows, do: window.remaining)

  defp check(limiter, windows, options) do
    case RateLimiter.check_and_track(limiter, 1, windows, options) do
      {:ok, usage} -> {:ok, usage}
      {:error, reason, usage} -> {reason, usage}
    end
  end

  # An answer without its times, which pass meanwhile.
  defp outline({verdict, usage}), do: {verdict, numbers(usage)}
  defp outline({verdict, reason, usage}), do: {verdict, reason, numbers(usage)}

  defp numbers(usage) do
    windows = for {name, window} <- usage.windows, do: {name, window.remaining}
    {usage.window, usage.max, usage.current, usage.remaining, usage.cost, Enum.sort(windows)}
  end

  # Each run reads all its keys at once. A heartbeat is a script, too, and does not.
  defp scripts(server) do
    case Regex.run(~r/calls=(\d+)/, Redis.info(server, "cmdstat_mget") || "") do
      [_line, calls] -> String.to_integer(calls)
      nil -> 0
    end
  end
end
