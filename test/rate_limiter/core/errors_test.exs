defmodule RateLimiter.ErrorsTest do
  # What is said to who misuses the door: every message, word by word. Not at once with other tests, since a message
  # names all that runs on the node.
  use ExUnit.Case, async: false

  @windows [burst: [limit: 10, per: :second], slow: [limit: 10, per: :hour]]
  @kinds "expected an id (a binary, an integer, an atom other than nil, or a tuple or list of these)"
  @no_nil "nil is no id: all callers without an id would share one limit. Pass who is asking (a user's id, " <>
            "an address, a tenant), or an id that says that they share it, such as :anonymous"
  @no_windows "expected a window, a list of windows, each once, or options such as [cost: 1], got: "

  defp says(message, call), do: assert_raise(ArgumentError, message, call)

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

  defp start(options) do
    start_supervised!({RateLimiter, options})
    :ok
  end

  describe "an unknown limiter" do
    test "where nothing runs: says so, and what to add" do
      message =
        "unknown limiter :api: no instance of RateLimiter runs on this node. " <>
          "Add {RateLimiter, limiters: [api: [windows: [...]]]} to your application's children"

      for call <- calls(:api, "u", :burst), do: says(message, call)
      says(message, fn -> RateLimiter.check_and_track(:api, "u") end)
      says(message, fn -> RateLimiter.update_limit(:api, :burst, limit: 1) end)
      says(message, fn -> RateLimiter.remove_limiter(:api) end)
    end

    test "lists those that run, by instance, and the one that was probably meant" do
      start(limiters: [api: [windows: @windows], uploads: [windows: @windows]])
      start(name: {:tenant, 7}, limiters: [mail: [windows: @windows]])

      known = "Known are :api and :uploads of RateLimiter, :mail of {:tenant, 7}"

      for call <- calls(:upload, "u", :burst),
          do: says("unknown limiter :upload, did you mean :uploads? " <> known, call)

      says("unknown limiter :zzz. " <> known, fn ->
        RateLimiter.check_and_track(:zzz, "u", :burst)
      end)

      says("unknown limiter nil. " <> known, fn ->
        RateLimiter.check_and_track(nil, "u", :burst)
      end)

      says("unknown limiter :zzz. " <> known, fn ->
        RateLimiter.update_limit(:zzz, :burst, limit: 1)
      end)

      says("unknown limiter :zzz. " <> known, fn -> RateLimiter.remove_limiter(:zzz) end)
    end

    test "lists twenty of very many" do
      start(
        limiters: for(n <- 100..150, do: {:"l#{n}", [windows: [w: [limit: 1, per: :second]]]})
      )

      says(~r/^unknown limiter :none\. Known are :l100, /, fn -> RateLimiter.reset(:none, 1) end)
      says(~r/:l119 and 31 more of RateLimiter$/, fn -> RateLimiter.reset(:none, 1) end)
    end

    test "or what is no name at all" do
      start(limiters: [api: [windows: @windows]])

      for call <- [
            fn -> RateLimiter.update_limit("api", :burst, limit: 1) end,
            fn -> RateLimiter.remove_limiter("api") end
          ],
          do: says("expected a limiter's name, which is an atom, got: \"api\"", call)

      for limiter <- ["api", 0, 1, {:api}, %{}, 1.5], call <- calls(limiter, "u", :burst) do
        says("expected a limiter's name, which is an atom, got: #{inspect(limiter)}", call)
      end
    end
  end

  describe "an unknown window" do
    setup do: start(limiters: [api: [windows: @windows]])

    test "lists the limiter's windows" do
      for call <- calls(:api, "u", :bust),
          do: says("unknown window :bust of limiter :api; its windows are :burst and :slow", call)

      says("unknown window nil of limiter :api; its windows are :burst and :slow", fn ->
        RateLimiter.check_and_track(:api, "u", nil)
      end)
    end

    test "is named in a list" do
      for call <- calls(:api, "u", [:burst, :bust]),
          do: says("unknown window :bust of limiter :api; its windows are :burst and :slow", call)
    end

    test "or one that is named twice, or is none, takes nothing" do
      for windows <- [
            [:burst, :burst],
            [:burst, "slow"],
            [:burst | :slow],
            %{burst: 1},
            "burst",
            7
          ],
          call <- calls(:api, "u", windows) do
        says(@no_windows <> inspect(windows), call)
      end

      assert {:ok, %{current: 0}} = RateLimiter.get_usage(:api, "u", :burst)
    end

    test "and options where none are taken, or in its place, are not taken for one" do
      message =
        "expected a window or a list of windows, each once, and options, if the call has any, after these, got: [cost: 1]"

      for call <- [
            fn -> RateLimiter.get_usage(:api, "u", cost: 1) end,
            fn -> RateLimiter.get_usage_batch(:api, ["u"], cost: 1) end,
            fn -> RateLimiter.check_batch(:api, [{"u", 1}], cost: 1) end,
            fn -> RateLimiter.reset(:api, "u", cost: 1) end,
            fn -> RateLimiter.check_and_track(:api, "u", [cost: 1], cost: 2) end,
            fn -> RateLimiter.refund(:api, "u", [cost: 1], cost: 1) end
          ],
          do: says(message, call)
    end

    test "of update_limit lists the limiter's windows" do
      says("unknown window [:burst] of limiter :api; its windows are :burst and :slow", fn ->
        RateLimiter.update_limit(:api, [:burst], limit: 1)
      end)

      says("unknown window :bust of limiter :api; its windows are :burst and :slow", fn ->
        RateLimiter.update_limit(:api, :bust, limit: 1)
      end)
    end
  end

  describe "an id" do
    setup do: start(limiters: [api: [windows: @windows]])

    test "that is nil is refused, and why" do
      for windows <- [:burst, [:burst], []],
          call <- calls(:api, nil, windows),
          do: says(@no_nil, call)
    end

    test "of another kind is refused, also inside of another" do
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
          call <- calls(:api, id, windows) do
        says("#{@kinds}, got: #{inspect(id)}", call)
      end
    end

    test "is not shown at any length" do
      error =
        assert_raise(ArgumentError, fn ->
          RateLimiter.reset(:api, {String.duplicate("x", 10_000), 1.0})
        end)

      assert String.length(error.message) < 500
    end

    test "that is wrong in a batch is the one that is named, and nothing is taken" do
      for entries <- [[{"u", 1}, {"v", 1}, {1.5, 1}], for(n <- 1..500, do: {n, 1}) ++ [{1.5, 1}]],
          windows <- [:burst, [:burst], []] do
        says("#{@kinds}, got: 1.5", fn -> RateLimiter.check_batch(:api, entries, windows) end)
      end

      assert RateLimiter.stats().checks == 0
    end
  end

  describe "a cost" do
    setup do: start(limiters: [api: [windows: @windows]])

    test "that is no integer is refused" do
      for cost <- [1.0, "1", nil, :one, [1]], windows <- [:burst, [:burst], []] do
        message = "cost: expected an integer, got: #{inspect(cost)}"
        says(message, fn -> RateLimiter.check_and_track(:api, "u", windows, cost: cost) end)
        says(message, fn -> RateLimiter.peek(:api, "u", windows, cost: cost) end)
        says(message, fn -> RateLimiter.refund(:api, "u", windows, cost: cost) end)
        says(message, fn -> RateLimiter.check_and_track(:api, "u", cost: cost) end)
      end
    end

    test "under another name is refused, and which was probably meant" do
      for call <- [
            fn -> RateLimiter.check_and_track(:api, "u", :burst, costs: 1) end,
            fn -> RateLimiter.check_and_track(:api, "u", costs: 1) end,
            fn -> RateLimiter.peek(:api, "u", costs: 1) end,
            fn -> RateLimiter.refund(:api, "u", :burst, costs: 1) end
          ],
          do: says("options: unknown option :costs, did you mean :cost?", call)

      says("options: :cost is given twice", fn ->
        RateLimiter.check_and_track(:api, "u", cost: 1, cost: 2)
      end)

      says("options: expected a keyword list or a map with atoms as keys, got: 5", fn ->
        RateLimiter.check_and_track(:api, "u", :burst, 5)
      end)
    end

    test "of an entry of a batch has to be there" do
      for entry <- ["u", {"u"}, {"u", 1.0}, {"u", 1, 2}, nil], windows <- [:burst, []] do
        says("expected an entry {id, cost}, its cost an integer, got: #{inspect(entry)}", fn ->
          RateLimiter.check_batch(:api, [{"v", 1}, entry], windows)
        end)
      end

      for windows <- [:burst, []] do
        says("expected a list, got: [{\"u\", 1} | :rest]", fn ->
          RateLimiter.check_batch(:api, [{"u", 1} | :rest], windows)
        end)

        says("expected a list, got: %{}", fn -> RateLimiter.check_batch(:api, %{}, windows) end)

        says("expected a list, got: \"u\"", fn ->
          RateLimiter.get_usage_batch(:api, "u", windows)
        end)
      end

      assert RateLimiter.stats().checks == 0
    end
  end

  describe "an instance" do
    test "that does not run: says which do, or that none does" do
      message =
        "no instance RateLimiter runs on this node, and no other either. " <>
          "Add {RateLimiter, limiters: [api: [windows: [...]]]} to your application's children"

      for call <- [
            &RateLimiter.stats/0,
            &RateLimiter.limiters/0,
            fn -> RateLimiter.add_limiter(:a, windows: @windows) end
          ],
          do: says(message, call)

      start(name: One)
      start(name: "two")

      for call <- [
            fn -> RateLimiter.stats(:three) end,
            fn -> RateLimiter.limiters(:three) end,
            fn -> RateLimiter.add_limiter(:a, [windows: @windows], :three) end
          ] do
        says(~r/^no instance :three runs on this node; there run One, "two"$/, call)
      end

      assert RateLimiter.health_check(:three) == {:error, :not_running}
    end
  end

  describe "a name that is taken" do
    setup do: start(limiters: [api: [windows: @windows]])

    test "is refused, and who has it" do
      message =
        "limiters.api: the instance RateLimiter has a limiter of this name, and a name is unique on a node. " <>
          "Choose another name, or remove that limiter first"

      says(message, fn -> RateLimiter.add_limiter(:api, windows: @windows) end)

      says(message, fn ->
        RateLimiter.start_link(
          name: Two,
          limiters: [free: [windows: @windows], api: [windows: @windows]]
        )
      end)

      assert RateLimiter.health_check(Two) == {:error, :not_running}

      start(name: Two)
      says(message, fn -> RateLimiter.add_limiter(:api, [windows: @windows], Two) end)
      assert {:ok, %{current: 1}} = RateLimiter.check_and_track(:api, "u", :burst)
    end

    test "of an instance is refused as OTP does" do
      assert {:error, {:already_started, pid}} =
               RateLimiter.start_link(limiters: [api: [windows: @windows]])

      assert is_pid(pid)
    end
  end
end
