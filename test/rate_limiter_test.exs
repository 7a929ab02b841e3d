defmodule RateLimiterTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Events
  alias RateLimiter.Usage

  # Documentation uses the limiters of the README.
  @documented [
    api: [windows: [minute: [limit: 60, per: :minute], day: [limit: 10_000, per: :day]]],
    login: [windows: [attempts: [limit: 5, per: :hour]]]
  ]

  @tested [
    api: [
      windows: [
        burst: [algorithm: :token_bucket, limit: 100, per: :second, burst: 200],
        sustained: [algorithm: :sliding_window, limit: 1_000, per: {1, :minute}]
      ]
    ]
  ]

  setup %{test_type: type} do
    RateLimiter.Test.start(limiters: if(type == :doctest, do: @documented, else: @tested))
  end

  # test/readme_test.exs runs the examples of the module documentation, in order.
  doctest RateLimiter, except: [:moduledoc]

  describe "check_and_track/3 with one window" do
    test "admits until the window is empty, then denies with the time to retry" do
      for used <- 1..200 do
        assert {:ok, %Usage{max: 200, current: ^used, retry_after_ms: 0}} =
                 RateLimiter.check_and_track(:api, "u", :burst)
      end

      assert {:error, :rate_limited, usage} = RateLimiter.check_and_track(:api, "u", :burst)

      assert usage == %Usage{
               limiter: :api,
               window: :burst,
               max: 200,
               current: 200,
               remaining: 0,
               cost: 1,
               next_after_ms: 10,
               reset_after_ms: 2_000,
               retry_after_ms: 10,
               source: :local,
               scale: 1.0,
               windows: %{}
             }
    end

    test "admits exactly after retry_after_ms, and not a millisecond before" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 200)

      {:error, :rate_limited, usage} = RateLimiter.check_and_track(:api, "u", :burst, cost: 7)
      RateLimiter.Test.advance(usage.retry_after_ms - 1)
      assert {:error, :rate_limited, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 7)
      RateLimiter.Test.advance(1)
      assert {:ok, %Usage{remaining: 0}} = RateLimiter.check_and_track(:api, "u", :burst, cost: 7)
    end

    test "consumes nothing for a denied call" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 200)

      for _ <- 1..1_000,
          do: {:error, :rate_limited, _} = RateLimiter.check_and_track(:api, "u", :burst)

      RateLimiter.Test.advance(10)
      assert {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst)
    end

    test "counts each id separately" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 200)
      assert {:ok, %Usage{current: 1}} = RateLimiter.check_and_track(:api, "v", :burst)
    end

    test "counts each window separately" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 200)
      assert {:ok, %Usage{current: 1}} = RateLimiter.check_and_track(:api, "u", :sustained)
    end
  end

  describe "check_and_track/3 with several windows" do
    test "charges every given window" do
      assert {:ok, usage} = RateLimiter.check_and_track(:api, "u", [:burst, :sustained])
      assert %{burst: %Usage{remaining: 199}, sustained: %Usage{remaining: 999}} = usage.windows
    end

    test "returns the window with the least left for an admitted call" do
      assert {:ok, %Usage{window: :burst}} =
               RateLimiter.check_and_track(:api, "u", [:sustained, :burst])

      {:ok, _} = RateLimiter.check_and_track(:api, "u", :sustained, cost: 950)
      RateLimiter.Test.advance(10)
      assert {:ok, usage} = RateLimiter.check_and_track(:api, "u", [:sustained, :burst])
      assert %Usage{window: :sustained, remaining: 48, max: 1_000} = usage
      assert usage.windows.sustained == %{usage | windows: %{}, receipt: nil}
    end

    test "charges none if one denies, and returns that one" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :sustained, cost: 1_000)

      assert {:error, :rate_limited, usage} =
               RateLimiter.check_and_track(:api, "u", [:burst, :sustained])

      assert %Usage{window: :sustained, remaining: 0} = usage
      assert usage.retry_after_ms > 0
      assert %Usage{remaining: 200, retry_after_ms: 0} = usage.windows.burst
      assert {:ok, %Usage{current: 0}} = RateLimiter.get_usage(:api, "u", :burst)
    end

    test "returns the longest wait if several deny" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :sustained, cost: 1_000)
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 200)
      assert {:error, :rate_limited, usage} = RateLimiter.check_and_track(:api, "u")
      assert usage.window == :sustained
      assert usage.retry_after_ms > usage.windows.burst.retry_after_ms
      assert usage.windows.burst.retry_after_ms == 10
    end

    test "returns the usage by name for a list of one window" do
      assert {:ok, usage} = RateLimiter.check_and_track(:api, "u", [:burst])
      assert usage.windows == %{burst: %{usage | windows: %{}, receipt: nil}}
    end

    test "uses every window for an empty list, and without windows" do
      assert {:ok, %Usage{windows: %{burst: _, sustained: _}}} =
               RateLimiter.check_and_track(:api, "u", [])

      assert {:ok, %Usage{windows: %{burst: _, sustained: _}}} =
               RateLimiter.check_and_track(:api, "u")
    end
  end

  describe "check_and_track/4 with a cost" do
    test "charges it to one window, to some, and to all" do
      assert {:ok, %Usage{remaining: 195, cost: 5}} =
               RateLimiter.check_and_track(:api, "u", :burst, cost: 5)

      assert {:ok, %Usage{remaining: 190}} =
               RateLimiter.check_and_track(:api, "u", [:burst], cost: 5)

      assert {:ok, usage} = RateLimiter.check_and_track(:api, "u", cost: 5)
      assert %{burst: %Usage{remaining: 185}, sustained: %Usage{remaining: 995}} = usage.windows
    end

    test "admits a cost of 0 and consumes nothing, even if nothing is left" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 200)

      assert {:ok, %Usage{remaining: 0, cost: 0}} =
               RateLimiter.check_and_track(:api, "u", :burst, cost: 0)
    end

    test "admits a cost equal to the maximum" do
      assert {:ok, %Usage{remaining: 0}} =
               RateLimiter.check_and_track(:api, "u", :burst, cost: 200)
    end

    test "denies a cost that is negative or above the maximum, of any size" do
      for cost <- [201, -1, -(2 ** 200), 2 ** 63 - 1, 2 ** 63, 2 ** 64, 2 ** 64 + 1, 2 ** 4_000] do
        assert {:error, :rate_limited, usage} =
                 RateLimiter.check_and_track(:api, "u", :burst, cost: cost)

        assert %Usage{cost: ^cost, remaining: 200, current: 0, retry_after_ms: :infinity} = usage

        assert {:error, :rate_limited, usage} =
                 RateLimiter.check_and_track(:api, "u", [:burst], cost: cost)

        assert %Usage{cost: ^cost, retry_after_ms: :infinity} = usage
      end
    end

    test "accepts empty options" do
      assert {:ok, %Usage{remaining: 199}} = RateLimiter.check_and_track(:api, "u", :burst, [])
    end
  end

  describe "allow?/4" do
    setup do
      windows = fn -> Keyword.new([:burst, :slow], &{&1, [limit: 7, per: :second]}) end

      limiters =
        for name <- [:all, :denials, :none], do: {name, events: name, windows: windows.()}

      twins = for {name, options} <- limiters, do: {:"#{name}_twin", options}
      RateLimiter.Test.start(limiters: limiters ++ twins)
    end

    test "decides as check_and_track/4 does, and charges the same" do
      calls = [
        [],
        [:burst],
        [[:slow, :burst]],
        [[]],
        [:burst, []],
        [:burst, [cost: 3]],
        [[cost: 2]],
        [:slow, [cost: 0]],
        [:slow, [cost: -1]],
        [:slow, [cost: 8]],
        [:burst, [cost: 2 ** 70]],
        [:burst, [request_id: "r"]],
        [[request_id: "all"]]
      ]

      for {name, twin} <- [all: :all_twin, denials: :denials_twin, none: :none_twin],
          _round <- 1..20,
          call <- Enum.shuffle(calls) do
        id = {"user", Enum.random(1..2)}
        allowed? = apply(RateLimiter, :allow?, [name, id | call])
        answer = apply(RateLimiter, :check_and_track, [twin, id | call])
        assert allowed? == match?({:ok, _usage}, answer), inspect({name, call})

        {:ok, usage} = RateLimiter.get_usage(name, id)
        {:ok, twin_usage} = RateLimiter.get_usage(twin, id)
        numbers = &for({window, usage} <- &1.windows, do: {window, usage.remaining})
        assert numbers.(usage) == numbers.(twin_usage)
        RateLimiter.Test.advance(Enum.random(0..60))
      end
    end

    test "raises what check_and_track/4 raises" do
      for call <- [
            [:unknown, "u"],
            [:all, nil],
            [:all, "u", :unknown],
            [:all, "u", "burst"],
            [:all, "u", :burst, [cost: 1.0]],
            [:all, "u", :burst, [cots: 1]],
            ["all", "u", :burst]
          ] do
        message = fn function ->
          Exception.message(catch_error(apply(RateLimiter, function, call)))
        end

        assert message.(:allow?) == message.(:check_and_track)
      end
    end
  end

  describe "check_batch/3" do
    test "decides each entry by itself, in order" do
      assert [
               {:ok, %Usage{remaining: 50}},
               {:error, :rate_limited, denied},
               {:ok, %Usage{remaining: 0}},
               {:ok, other}
             ] =
               RateLimiter.check_batch(:api, [{"u", 150}, {"u", 51}, {"u", 50}, {"v", 1}], :burst)

      assert %Usage{cost: 51, remaining: 50, retry_after_ms: 10} = denied
      assert %Usage{limiter: :api, window: :burst, remaining: 199} = other
    end

    test "decides thousands of entries as it does a few" do
      entries = for n <- 1..5_000, do: {rem(n, 100), 1}
      answers = RateLimiter.check_batch(:api, entries, :burst)
      assert length(answers) == 5_000
      assert Enum.all?(answers, &match?({:ok, _}, &1))

      assert for({:ok, usage} <- Enum.take(answers, -100), uniq: true, do: usage.remaining) == [
               150
             ]
    end

    test "admits exactly the limit, in batches of any size" do
      for size <- [1, 127, 128, 129, 1_000] do
        id = {:size, size}

        answers =
          1..1_000
          |> Enum.map(fn _ -> {id, 1} end)
          |> Enum.chunk_every(size)
          |> Enum.flat_map(&RateLimiter.check_batch(:api, &1, :burst))

        assert Enum.count(answers, &match?({:ok, _}, &1)) == 200
      end
    end

    test "charges all of several windows or none, for each entry" do
      assert [{:ok, one}, {:error, :rate_limited, two}] =
               RateLimiter.check_batch(:api, [{"u", 150}, {"u", 100}])

      assert one.windows.sustained.remaining == 850
      assert two.windows.sustained.remaining == 850
      assert [{:ok, _}] = RateLimiter.check_batch(:api, [{"u", 1}], [:burst, :sustained])
    end

    test "denies costs that can never be admitted" do
      assert [
               {:error, :rate_limited, %Usage{cost: -1, retry_after_ms: :infinity}},
               {:error, :rate_limited, %Usage{retry_after_ms: :infinity}}
             ] = RateLimiter.check_batch(:api, [{"u", -1}, {"u", 2 ** 70}], :burst)
    end

    test "returns an empty list for an empty batch" do
      assert RateLimiter.check_batch(:api, [], :burst) == []
      assert RateLimiter.check_batch(:api, []) == []
    end
  end

  describe "peek/4" do
    test "returns exactly what check_and_track/4 would return, and consumes nothing" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 150)

      for windows <- [:burst, [:burst], [:burst, :sustained], []],
          cost <- [0, 1, 50, 51, 201, -1, 2 ** 70] do
        before = RateLimiter.get_usage(:api, "u")
        peeked = RateLimiter.peek(:api, "u", windows, cost: cost)
        assert RateLimiter.get_usage(:api, "u") == before
        taken = RateLimiter.check_and_track(:api, "u", windows, cost: cost)
        assert put_elem(taken, tuple_size(taken) - 1, %{last(taken) | receipt: nil}) == peeked
        if elem(peeked, 0) == :ok, do: RateLimiter.refund(:api, "u", windows, cost: cost)
      end
    end

    test "accepts the options as the third argument, and none" do
      assert {:error, :rate_limited, %Usage{cost: 300}} = RateLimiter.peek(:api, "u", cost: 300)
      assert {:ok, %Usage{cost: 1, remaining: 199}} = RateLimiter.peek(:api, "u")
      assert {:ok, %Usage{cost: 1, remaining: 199}} = RateLimiter.peek(:api, "u", :burst)
    end
  end

  describe "get_usage/3" do
    test "returns one window, some, or all" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 20)

      assert {:ok, %Usage{window: :burst, current: 20, windows: %{}}} =
               RateLimiter.get_usage(:api, "u", :burst)

      assert {:ok, %Usage{windows: %{sustained: %Usage{current: 20}}}} =
               RateLimiter.get_usage(:api, "u", [:sustained])

      assert {:ok, %Usage{window: :burst, windows: windows}} = RateLimiter.get_usage(:api, "u")
      assert Map.keys(windows) == [:burst, :sustained]
    end

    test "returns :ok if nothing is left" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 200)
      assert {:ok, %Usage{remaining: 0, cost: 0}} = RateLimiter.get_usage(:api, "u", :burst)
    end

    test "returns current and remaining that add up to the maximum" do
      for step <- 1..200 do
        RateLimiter.check_and_track(:api, "u", cost: rem(step * 7, 40))
        RateLimiter.Test.advance(rem(step * 13, 90))
        {:ok, usage} = RateLimiter.get_usage(:api, "u")

        for {_window, %Usage{} = one} <- usage.windows,
            do: assert(one.current + one.remaining == one.max)
      end
    end
  end

  describe "get_usage_batch/3" do
    test "keeps the order and repeated ids" do
      {:ok, _} = RateLimiter.check_and_track(:api, 2, :burst, cost: 2)
      assert {:ok, usages} = RateLimiter.get_usage_batch(:api, [3, 2, "2", 2, 3], :burst)

      assert for({id, usage} <- usages, do: {id, usage.current}) == [
               {3, 0},
               {2, 2},
               {"2", 0},
               {2, 2},
               {3, 0}
             ]
    end

    test "returns every window without windows" do
      assert {:ok, [{"u", %Usage{windows: %{burst: _, sustained: _}}}]} =
               RateLimiter.get_usage_batch(:api, ["u"])

      assert {:ok, [{"u", %Usage{windows: %{burst: _}}}]} =
               RateLimiter.get_usage_batch(:api, ["u"], [:burst])
    end

    test "accepts thousands of ids, and an empty list" do
      assert {:ok, usages} = RateLimiter.get_usage_batch(:api, Enum.to_list(1..3_000), :burst)
      assert Enum.map(usages, &elem(&1, 0)) == Enum.to_list(1..3_000)
      assert RateLimiter.get_usage_batch(:api, [], :burst) == {:ok, []}
    end
  end

  describe "refund/1" do
    test "takes a usage, and says so for the whole answer" do
      for answer <- [
            RateLimiter.check_and_track(:api, "u"),
            RateLimiter.check_and_track(:api, "u", cost: 9_999)
          ] do
        message =
          ~r/expected the usage of an admitted call, as in {:ok, usage}, got: {:(ok|error), /

        assert_raise ArgumentError, message, fn -> RateLimiter.refund(answer) end
        assert_raise ArgumentError, message, fn -> RateLimiter.refund(answer, cost: 1) end
      end
    end
  end

  describe "refund/4" do
    test "gives back a cost of 1 to every window by default" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 10)
      assert {:ok, usage} = RateLimiter.refund(:api, "u")
      assert %{burst: %Usage{current: 9}, sustained: %Usage{current: 9}} = usage.windows
    end

    test "gives back to the given windows" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 10)

      assert {:ok, %Usage{window: :sustained, current: 6, windows: %{}}} =
               RateLimiter.refund(:api, "u", :sustained, cost: 4)

      assert {:ok, %Usage{current: 10}} = RateLimiter.get_usage(:api, "u", :burst)

      assert {:ok, %Usage{windows: %{burst: %Usage{current: 7}}}} =
               RateLimiter.refund(:api, "u", [:burst], cost: 3)

      assert {:ok, _} = RateLimiter.refund(:api, "u", cost: 1)
      assert {:ok, %Usage{current: 6}} = RateLimiter.get_usage(:api, "u", :burst)
    end

    test "never exceeds the maximum" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 10)

      for cost <- [11, 10_000, 2 ** 63 - 1, 2 ** 64, 2 ** 500] do
        assert {:ok, %Usage{cost: ^cost, remaining: 200, max: 200}} =
                 RateLimiter.refund(:api, "u", :burst, cost: cost)
      end

      assert {:ok, %Usage{remaining: 199}} = RateLimiter.check_and_track(:api, "u", :burst)
    end

    test "changes nothing for a cost of 0 or below" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", :burst, cost: 10)

      for cost <- [0, -1, -(2 ** 80)],
          do:
            assert({:ok, %Usage{current: 10}} = RateLimiter.refund(:api, "u", :burst, cost: cost))
    end

    test "restores the usage from before a check" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 30)
      before = RateLimiter.get_usage(:api, "u")
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 12)
      {:ok, _} = RateLimiter.refund(:api, "u", cost: 12)
      assert RateLimiter.get_usage(:api, "u") == before
    end
  end

  describe "reset/3" do
    test "deletes the usage of all windows, or of the given ones" do
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 100)
      assert RateLimiter.reset(:api, "u", :burst) == :ok

      assert {:ok, %Usage{windows: %{burst: %Usage{current: 0}, sustained: %Usage{current: 100}}}} =
               RateLimiter.get_usage(:api, "u")

      assert RateLimiter.reset(:api, "u", [:sustained]) == :ok
      assert {:ok, %Usage{current: 0}} = RateLimiter.get_usage(:api, "u", :sustained)
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 100)
      assert RateLimiter.reset(:api, "u") == :ok

      assert {:ok, %Usage{windows: %{burst: %Usage{current: 0}, sustained: %Usage{current: 0}}}} =
               RateLimiter.get_usage(:api, "u")
    end

    test "keeps the usage of other ids" do
      {:ok, _} = RateLimiter.check_and_track(:api, "v", :burst)
      :ok = RateLimiter.reset(:api, "u")
      assert {:ok, %Usage{current: 1}} = RateLimiter.get_usage(:api, "v", :burst)
    end
  end

  defp last(answer), do: elem(answer, tuple_size(answer) - 1)

  describe "reset/1" do
    test "forgets the usage, the request ids and the receipts of all ids, and keeps the counts" do
      reset = [:rate_limiter, :limiter, :reset]
      Events.listen([reset])

      usages =
        for id <- 1..500 do
          {:ok, usage} = RateLimiter.check_and_track(:api, id, :burst, cost: 150, request_id: "r")
          usage
        end

      assert RateLimiter.reset(:api) == :ok
      assert_received {:event, ^reset, %{count: 1}, %{instance: RateLimiter, limiter: :api}}
      assert %{keys: 0, request_ids: 0, checks: 500} = RateLimiter.stats()

      for {id, old} <- Enum.zip(1..500, usages) do
        call = [cost: 150, request_id: "r"]
        assert {:ok, %{remaining: 50}} = RateLimiter.check_and_track(:api, id, :burst, call)
        assert {:ok, %{remaining: 50}} = RateLimiter.refund(old)
      end

      assert RateLimiter.stats().keys == 500
    end

    test "raises an error for an unknown limiter" do
      assert_raise ArgumentError, ~r/^unknown limiter :apj, did you mean :api\?/, fn ->
        RateLimiter.reset(:apj)
      end

      assert_raise ArgumentError, ~r/^expected the name of a limiter/, fn ->
        RateLimiter.reset("api")
      end
    end
  end
end
