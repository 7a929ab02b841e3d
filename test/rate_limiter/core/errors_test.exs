defmodule RateLimiter.Core.ErrorsTest do
  # The messages of invalid calls are part of the contract. Not async, because some list all instances of the node.
  use ExUnit.Case, async: false

  @windows [burst: [limit: 10, per: :second], slow: [limit: 10, per: :hour]]
  @children "Add {RateLimiter, limiters: [api: [windows: [...]]]} to your application's children"
  @id "expected an id (a binary, an integer, an atom other than nil, or a tuple or list of these), got: "
  @nil_id "id must not be nil, because all callers without an id would share one limit. Pass the identity of the " <>
            "caller (a user id, an address, a tenant), or an explicit shared id such as :anonymous"
  @distinct "expected a window, a list of distinct windows, or options such as [cost: 1], got: "

  defp start(options) do
    start_supervised!({RateLimiter, options})
    :ok
  end

  defp raises(message, calls),
    do: for(call <- List.wrap(calls), do: assert_raise(ArgumentError, message, call))

  # Every call that takes an id and windows.
  defp calls(limiter, id, windows) do
    [
      fn -> RateLimiter.check_and_track(limiter, id, windows) end,
      fn -> RateLimiter.check_and_track(limiter, id, windows, cost: 2) end,
      fn -> RateLimiter.check_batch(limiter, [{id, 1}], windows) end,
      fn -> RateLimiter.peek(limiter, id, windows) end,
      fn -> RateLimiter.get_usage(limiter, id, windows) end,
      fn -> RateLimiter.get_usage_batch(limiter, [id], windows) end,
      fn -> RateLimiter.refund(limiter, id, windows) end,
      fn -> RateLimiter.reset(limiter, id, windows) end
    ]
  end

  # Every call that takes a limiter only.
  defp changes(limiter) do
    [
      fn -> RateLimiter.update_limit(limiter, :burst, limit: 1) end,
      fn -> RateLimiter.remove_limiter(limiter) end
    ]
  end

  describe "unknown_limiter/2" do
    test "without an instance suggests the child to add" do
      raises(
        "unknown limiter :api, no RateLimiter instance is running on this node. #{@children}",
        [fn -> RateLimiter.check_and_track(:api, "u") end | calls(:api, "u", :burst)] ++
          changes(:api)
      )
    end

    test "lists the limiters of each instance and suggests the closest name" do
      start(limiters: [api: [windows: @windows], uploads: [windows: @windows]])
      start(name: {:tenant, 7}, limiters: [mail: [windows: @windows]])
      known = "Known limiters: :api and :uploads of RateLimiter, :mail of {:tenant, 7}"

      for {limiter, hint} <- [
            {:upload, ":upload, did you mean :uploads?"},
            {:zzz, ":zzz."},
            {nil, "nil."}
          ] do
        raises(
          "unknown limiter #{hint} #{known}",
          calls(limiter, "u", :burst) ++ changes(limiter)
        )
      end
    end

    test "lists the first twenty of many limiters" do
      start(
        limiters: for(n <- 100..150, do: {:"l#{n}", [windows: [w: [limit: 1, per: :second]]]})
      )

      raises(
        ~r/^unknown limiter :none\. Known limiters: :l100, .*:l119 and 31 more of RateLimiter$/,
        fn ->
          RateLimiter.reset(:none, 1)
        end
      )
    end
  end

  describe "bad_call/2" do
    test "reports a limiter that is not an atom" do
      start(limiters: [api: [windows: @windows]])

      for limiter <- ["api", 0, 1, {:api}, %{}, 1.5] do
        raises(
          "expected the name of a limiter, an atom, got: #{inspect(limiter)}",
          calls(limiter, "u", :burst) ++ changes(limiter)
        )
      end
    end

    test "reports a cost that is not an integer" do
      start(limiters: [api: [windows: @windows]])

      for cost <- [1.0, "1", nil, :one, [1]], windows <- [:burst, [:burst], []] do
        raises("cost: expected an integer, got: #{inspect(cost)}", [
          fn -> RateLimiter.check_and_track(:api, "u", windows, cost: cost) end,
          fn -> RateLimiter.peek(:api, "u", windows, cost: cost) end,
          fn -> RateLimiter.refund(:api, "u", windows, cost: cost) end,
          fn -> RateLimiter.check_and_track(:api, "u", cost: cost) end
        ])
      end
    end

    test "does not report invalid options, which the validation of options does" do
      start(limiters: [api: [windows: @windows]])

      raises("options: unknown option :costs, did you mean :cost?", [
        fn -> RateLimiter.check_and_track(:api, "u", :burst, costs: 1) end,
        fn -> RateLimiter.check_and_track(:api, "u", costs: 1) end,
        fn -> RateLimiter.peek(:api, "u", costs: 1) end,
        fn -> RateLimiter.refund(:api, "u", :burst, costs: 1) end
      ])

      raises("options: :cost is given twice", fn ->
        RateLimiter.check_and_track(:api, "u", cost: 1, cost: 2)
      end)

      raises("options: expected a keyword list or a map with atoms as keys, got: 5", fn ->
        RateLimiter.check_and_track(:api, "u", :burst, 5)
      end)
    end
  end

  describe "unknown_window/3" do
    test "lists the windows of the limiter" do
      start(limiters: [api: [windows: @windows]])
      known = " of limiter :api, its windows are :burst and :slow"

      raises(
        "unknown window :bust" <> known,
        calls(:api, "u", :bust) ++
          calls(:api, "u", [:burst, :bust]) ++
          [fn -> RateLimiter.update_limit(:api, :bust, limit: 1) end]
      )

      raises("unknown window nil" <> known, fn -> RateLimiter.check_and_track(:api, "u", nil) end)

      raises("unknown window [:burst]" <> known, fn ->
        RateLimiter.update_limit(:api, [:burst], limit: 1)
      end)
    end
  end

  describe "bad_windows/1" do
    setup do: start(limiters: [api: [windows: @windows]])

    test "reports windows that are not distinct atoms, and nothing is charged" do
      for windows <- [
            [:burst, :burst],
            [:burst, "slow"],
            [:burst | :slow],
            %{burst: 1},
            "burst",
            7
          ],
          do: raises(@distinct <> inspect(windows), calls(:api, "u", windows))

      assert {:ok, %{current: 0}} = RateLimiter.get_usage(:api, "u", :burst)
    end

    test "reports options in the place of windows" do
      raises("options: unknown option :cost, known options are :plan", [
        fn -> RateLimiter.get_usage(:api, "u", cost: 1) end,
        fn -> RateLimiter.get_usage(:api, "u", :burst, cost: 1) end,
        fn -> RateLimiter.check_batch(:api, [{"u", 1}], :burst, cost: 1) end
      ])

      raises(
        "expected a window or a list of distinct windows before any options, got: [cost: 1]",
        [
          fn -> RateLimiter.get_usage_batch(:api, ["u"], cost: 1) end,
          fn -> RateLimiter.check_batch(:api, [{"u", 1}], cost: 1) end,
          fn -> RateLimiter.reset(:api, "u", cost: 1) end,
          fn -> RateLimiter.check_and_track(:api, "u", [cost: 1], cost: 2) end,
          fn -> RateLimiter.refund(:api, "u", [cost: 1], cost: 1) end
        ]
      )
    end
  end

  describe "bad_id/1" do
    setup do: start(limiters: [api: [windows: @windows]])

    test "reports nil with the reason" do
      for windows <- [:burst, [:burst], []], do: raises(@nil_id, calls(:api, nil, windows))
    end

    test "reports an id of another type, also inside a tuple or list" do
      for id <- [
            1.5,
            self(),
            make_ref(),
            %{},
            %{a: 1},
            fn -> 1 end,
            <<1::3>>,
            {nil},
            ["a", nil],
            ["a" | "b"],
            {1, {2, 3.0}},
            [[[%{}]]]
          ],
          windows <- [:burst, [:burst], []],
          do: raises(@id <> inspect(id), calls(:api, id, windows))
    end

    test "shortens a long id" do
      [error] =
        raises(~r/^expected an id/, fn ->
          RateLimiter.reset(:api, {String.duplicate("x", 10_000), 1.0})
        end)

      assert String.length(error.message) < 500
    end

    test "reports the invalid id of a batch, and nothing is charged" do
      for entries <- [[{"u", 1}, {"v", 1}, {1.5, 1}], for(n <- 1..500, do: {n, 1}) ++ [{1.5, 1}]],
          windows <- [:burst, [:burst], []],
          do: raises(@id <> "1.5", fn -> RateLimiter.check_batch(:api, entries, windows) end)

      assert RateLimiter.stats().checks == 0
    end
  end

  describe "bad_entry/1 and bad_list/1" do
    test "report an invalid entry or list, and nothing is charged" do
      start(limiters: [api: [windows: @windows]])

      for windows <- [:burst, []] do
        for entry <- ["u", {"u"}, {"u", 1.0}, {"u", 1, 2}, nil] do
          raises(
            "expected an entry {id, cost} with an integer cost, got: #{inspect(entry)}",
            fn ->
              RateLimiter.check_batch(:api, [{"v", 1}, entry], windows)
            end
          )
        end

        for list <- [[{"u", 1} | :rest], %{}],
            do:
              raises("expected a list, got: #{inspect(list)}", fn ->
                RateLimiter.check_batch(:api, list, windows)
              end)

        raises("expected a list, got: \"u\"", fn ->
          RateLimiter.get_usage_batch(:api, "u", windows)
        end)
      end

      assert RateLimiter.stats().checks == 0
    end
  end

  describe "unknown_instance/2" do
    test "suggests the child to add, or lists the running instances" do
      calls = fn name ->
        [
          fn -> RateLimiter.stats(name) end,
          fn -> RateLimiter.limiters(name) end,
          fn -> RateLimiter.add_limiter(:a, [windows: @windows], name) end
        ]
      end

      raises(
        "no instance RateLimiter is running on this node, nor any other. #{@children}",
        [(&RateLimiter.stats/0) | calls.(RateLimiter)]
      )

      start(name: One)
      start(name: "two")

      raises(
        "no instance :three is running on this node, running instances: One, \"two\"",
        calls.(:three)
      )

      assert RateLimiter.health_check(:three) == {:error, :not_running}
    end
  end

  describe "messages" do
    # Some 120,000 digits.
    @huge Integer.pow(2, 400_000)

    test "are short, whatever the arguments are" do
      start(name: {:huge, @huge}, limiters: [api: [windows: @windows]])
      bad = [@huge, {1.5, @huge}, [@huge, 1.5], %{@huge => 1}]

      calls =
        for term <- bad do
          calls(term, "u", :burst) ++
            calls(:api, {1.5, term}, :burst) ++
            calls(:api, "u", [term]) ++
            changes(term) ++
            [
              fn -> RateLimiter.check_and_track(:api, "u", :burst, cost: {term}) end,
              fn -> RateLimiter.check_and_track(:api, "u", :burst, request_id: term) end,
              fn ->
                RateLimiter.check_and_track(:api, "u", :burst,
                  request_id: "r",
                  request_ttl: {term, :hour}
                )
              end,
              fn -> RateLimiter.check_batch(:api, [{"u", {term}}], :burst) end,
              fn -> RateLimiter.update_limit(:api, :burst, limit: term) end,
              fn -> RateLimiter.update_limit(:api, :burst, burst: term) end,
              fn -> RateLimiter.update_limit(:api, :burst, per: {term, :day}) end,
              fn -> RateLimiter.update_limit(:api, term, limit: 1) end,
              fn ->
                RateLimiter.add_limiter(:b, [windows: [w: [limit: term]]], {:huge, @huge})
              end,
              fn -> RateLimiter.add_limiter(term, windows: @windows) end,
              fn -> RateLimiter.start_link(name: term, limiters: [api: [windows: @windows]]) end,
              fn -> RateLimiter.start_link(name: term, stats_interval: {term}) end,
              fn -> RateLimiter.start_link(name: term, vsm: [interval: term]) end,
              fn -> RateLimiter.start_link(store: {:redis, database: term}) end,
              fn -> RateLimiter.stats(term) end,
              fn -> RateLimiter.VSM.subsystem_metrics({:huge, @huge}) end,
              fn ->
                RateLimiter.VSM.check_subsystem_limit(term, "u", instance: {:huge, @huge})
              end,
              fn -> RateLimiter.Algedonic.pain(:s1, term) end,
              fn -> RateLimiter.Algedonic.subscribe(term) end,
              fn -> RateLimiter.Redis.put_credentials([password: "p"], {:huge, @huge}) end
            ]
        end

      for call <- List.flatten(calls) do
        error = assert_raise ArgumentError, call
        assert byte_size(error.message) < 10_000, String.slice(error.message, 0, 200)
      end
    end

    test "name at most twenty instances" do
      for n <- 1..30, do: start_supervised!({RateLimiter, name: {:many, n}})
      error = assert_raise ArgumentError, fn -> RateLimiter.stats(:none) end
      assert error.message =~ "{:many, 20} and 10 more"
      error = assert_raise ArgumentError, fn -> RateLimiter.check_and_track(:none, "u") end
      assert error.message =~ "{:many, 20} and 10 more"
    end
  end

  describe "taken/2" do
    setup do: start(limiters: [api: [windows: @windows]])

    test "reports the instance that has a limiter of this name, which keeps its counts" do
      message =
        "limiters.api: the instance RateLimiter has a limiter of this name, and a name is unique on a node. " <>
          "Choose another name, or remove that limiter first"

      raises(message, [
        fn -> RateLimiter.add_limiter(:api, windows: @windows) end,
        fn ->
          RateLimiter.start_link(
            name: Two,
            limiters: [free: [windows: @windows], api: [windows: @windows]]
          )
        end
      ])

      assert RateLimiter.health_check(Two) == {:error, :not_running}

      start(name: Two)
      raises(message, fn -> RateLimiter.add_limiter(:api, [windows: @windows], Two) end)
      assert {:ok, %{current: 1}} = RateLimiter.check_and_track(:api, "u", :burst)
    end

    test "is not the answer for an instance of the same name, which is OTP's" do
      assert {:error, {:already_started, pid}} =
               RateLimiter.start_link(limiters: [api: [windows: @windows]])

      assert is_pid(pid)
    end
  end
end
