defmodule RateLimiter.LimitsTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Instance.Registry
  alias RateLimiter.Limits

  @documented [login: [windows: [attempts: [limit: 5, per: :hour]]]]
  @tested [
    api: [
      windows: [
        burst: [limit: 100, per: :second, burst: 200],
        sustained: [algorithm: :sliding_window, limit: 1_000, per: :minute]
      ],
      events: :none
    ],
    mail: [windows: [hourly: [algorithm: :sliding_log, limit: 10, per: :hour]]]
  ]

  setup %{test_type: type} do
    RateLimiter.Test.start(limiters: if(type == :doctest, do: @documented, else: @tested))
  end

  doctest RateLimiter.Limits

  defp limits(changes) do
    base = [
      api: [
        windows: [
          burst: [limit: 100, per: :second, burst: 200],
          sustained: [algorithm: :sliding_window, limit: 1_000, per: :minute]
        ]
      ],
      mail: [windows: [hourly: [algorithm: :sliding_log, limit: 10, per: :hour]]]
    ]

    Enum.reduce(changes, base, fn {path, value}, limits -> put_in(limits, path, value) end)
  end

  defp limits,
    do:
      RateLimiter.limiters()
      |> Map.new(fn {name, limiter} -> {name, Map.new(limiter.windows)} end)

  describe "apply/2" do
    test "changes windows of several limiters, keeps what was used, and emits an event for each window" do
      by = "ann #{inspect(make_ref())}"
      listen([:rate_limiter, :limit, :changed], by)
      {:ok, _} = RateLimiter.check_and_track(:api, "u", cost: 40)
      {:ok, _} = RateLimiter.check_and_track(:mail, "u", cost: 4)

      new =
        limits([
          {[:api, :windows, :burst, :limit], 50},
          {[:api, :windows, :sustained, :per], {2, :minute}},
          {[:mail, :windows, :hourly, :limit], 20}
        ])

      diff = [
        {:changed, [:api, :burst, :limit], 100, 50},
        {:changed, [:api, :sustained, :per], :minute, {2, :minute}},
        {:changed, [:mail, :hourly, :limit], 10, 20}
      ]

      assert Limits.diff(new) == {:ok, diff}
      assert Limits.apply(new, dry_run: true) == {:ok, diff}
      assert limits().api.burst.limit == 100
      added = Limits.history()

      assert Limits.apply(new, by: by) == {:ok, diff}
      assert %{api: %{burst: %{limit: 50, max: 200}, sustained: %{per: {2, :minute}}}} = limits()
      assert {:ok, %{windows: windows}} = RateLimiter.get_usage(:api, "u")
      assert {windows.burst.current, windows.sustained.current} == {40, 40}
      assert {:ok, %{current: 4, max: 20}} = RateLimiter.get_usage(:mail, "u")
      assert [%{by: ^by, diff: ^diff, at: %DateTime{}} | ^added] = Limits.history()

      for window <- [:burst, :sustained, :hourly] do
        assert_received {:event, %{count: 1}, %{window: ^window, limiter: _, from: %{}, to: %{}}}
      end

      # The same limits again are no change.
      assert Limits.apply(new) == {:ok, []}
      assert length(Limits.history()) == length(added) + 1
      refute_received {:event, _, _}
    end

    test "adds limiters, and leaves alone what is not named" do
      new = %{uploads: %{windows: %{daily: %{limit: 20, per: :day}}, max_keys: 10}}

      added =
        {:added, [:uploads],
         %{daily: %{algorithm: :token_bucket, limit: 20, per: :day, enforce: true}}}

      assert Limits.apply(new) == {:ok, [added]}
      assert {:ok, %{remaining: 19}} = RateLimiter.check_and_track(:uploads, "u")

      assert Limits.apply(api: [windows: [burst: [limit: 70, per: :second]]]) ==
               {:ok,
                [
                  {:changed, [:api, :burst, :burst], 200, nil},
                  {:changed, [:api, :burst, :limit], 100, 70}
                ]}

      assert %{api: %{sustained: %{limit: 1_000}}, mail: %{hourly: %{limit: 10}}} = limits()
      assert RateLimiter.remove_limiter(:uploads) == :ok
      assert [%{diff: [{:removed, [:uploads], %{daily: %{limit: 20}}}]} | _] = Limits.history()
    end

    test "changes nothing if a part is invalid, and reports each part" do
      new =
        limits([
          {[:api, :windows, :burst, :limit], 50},
          {[:api, :windows, :sustained, :limit], "many"},
          {[:mail, :windows, :hourly, :per], :week}
        ]) ++ [more: [windows: [w: [limit: 1, per: :day, bust: 2]]], none: []]

      assert {:error, reasons} = Limits.apply(new)

      assert reasons == [
               ~s(api.windows.sustained.limit: expected a positive integer, got: "many"),
               "mail.windows.hourly.per: expected a period shorter than 9 years: :second, :minute, :hour, :day or " <>
                 "{n, unit}, got: :week",
               "more.windows.w: unknown option :bust, did you mean :burst?",
               "none.windows: is required, expected a keyword list or a map"
             ]

      assert limits().api.burst.limit == 100
      assert {:error, [reason]} = Limits.apply(:all)
      assert reason == "options: expected a keyword list or a map with atoms as keys, got: :all"
    end

    test "refuses what could not keep the usage of ids" do
      new = [
        api: [
          windows: [
            burst: [algorithm: :fixed_window, limit: 100, per: :second],
            sustained: [algorithm: :sliding_window, limit: 1_000, per: :minute, sub_windows: 7],
            daily: [limit: 1, per: :day]
          ],
          events: :all,
          max_keys: 7
        ],
        mail: [windows: [hourly: [algorithm: :sliding_log, limit: 9, per: :hour]], events: :all]
      ]

      assert {:error, reasons} = Limits.apply(new)

      assert reasons == [
               "api.events: expected :none, since only windows can be changed, got: :all",
               "api.max_keys: expected 5000000, since only windows can be changed, got: 7",
               "api.windows.burst.algorithm: expected :token_bucket, since what ids have used could not be kept, got: " <>
                 ":fixed_window",
               "api.windows.sustained.sub_windows: expected 10, since what ids have used could not be kept, got: 7",
               "api.windows.daily: expected a window that the limiter has (:burst and :sustained), since a window cannot " <>
                 "be added to it"
             ]

      assert limits().mail.hourly.limit == 10
    end

    test "refuses to deny more than a share of the present ids, unless forced" do
      for n <- 1..10, do: {:ok, _} = RateLimiter.check_and_track(:mail, n, cost: n)
      to = &limits([{[:mail, :windows, :hourly, :limit], &1}])

      # Of ten ids, nine are admitted now.
      assert {:error, [reason]} = Limits.apply(to.(4))
      assert reason =~ "mail: expected limits that deny at most 50 % of the ids"
      assert reason =~ "got: 60.0 % (6 of 10)"
      assert limits().mail.hourly.limit == 10
      assert {:error, _} = Limits.apply(to.(4), dry_run: true)
      assert {:ok, [_]} = Limits.diff(to.(4))
      assert {:ok, [_]} = Limits.apply(to.(5), dry_run: true)
      assert {:ok, [_]} = Limits.apply(to.(4), max_denied: 0.6)
      assert {:ok, [_]} = Limits.apply(to.(1), force: true)
      assert limits().mail.hourly.limit == 1
    end

    test "counts an id as denied if any window would deny it, and not if it is denied already" do
      {:ok, _} = RateLimiter.check_and_track(:api, "burst", :burst, cost: 150)
      {:ok, _} = RateLimiter.check_and_track(:api, "sustained", :sustained, cost: 700)
      {:ok, _} = RateLimiter.check_and_track(:api, "spent", :sustained, cost: 1_000)
      {:ok, _} = RateLimiter.check_and_track(:api, "idle", :burst, cost: 1)
      RateLimiter.Test.advance(10)

      new =
        limits([
          {[:api, :windows, :burst, :burst], 100},
          {[:api, :windows, :sustained, :limit], 500}
        ])

      assert {:error, [reason]} = Limits.apply(new, max_denied: 0.1)
      assert reason =~ "(2 of 3)"

      # In shadow mode a window denies none.
      shadow = put_in(new, [:api, :windows, :sustained, :enforce], false)
      assert {:error, [reason]} = Limits.apply(shadow, max_denied: 0.1)
      assert reason =~ "(1 of 3)"
    end

    test "raises an error for an invalid option and for an instance that is not running" do
      for {options, message} <- [
            {[by: :ann], "by: expected a string, got: :ann"},
            {[dry_run: 1], "dry_run: expected true or false, got: 1"},
            {[force: "yes"], ~s(force: expected true or false, got: "yes")},
            {[scope: :all], "scope: expected one of :node, :cluster, got: :all"},
            {[max_denied: 2], "max_denied: expected a number above 0 and at most 1, got: 2"},
            {[who: 1],
             "options: unknown option :who, known options are " <>
               ":by, :dry_run, :max_denied, :force, :scope and :instance"}
          ] do
        assert_raise ArgumentError, message, fn -> Limits.apply([], options) end
      end

      for call <- [
            fn -> Limits.apply([], instance: :missing) end,
            fn -> Limits.diff([], :missing) end,
            fn -> Limits.history(1, :missing) end
          ] do
        assert_raise ArgumentError, ~r/^no instance :missing is running/, call
      end
    end
  end

  test "scope: :cluster and withdraw/1 need nodes that share limits" do
    reason =
      "scope: expected :node, since the nodes of this instance share no Redis, got: :cluster"

    assert Limits.apply([], scope: :cluster) == {:error, [reason]}
    assert Limits.withdraw() == {:error, [reason]}
    assert_raise ArgumentError, ~r/unknown option :force/, fn -> Limits.withdraw(force: true) end
  end

  describe "a change of several limiters" do
    @limiters [
      first: [windows: [w: [limit: 5, per: :day]]],
      second: [windows: [w: [limit: 5, per: :day]]]
    ]

    test "is completed after a kill in the middle of it" do
      start_supervised!({RateLimiter, name: :completed, limiters: @limiters})
      {:ok, _} = RateLimiter.check_and_track(:second, "u", cost: 3)
      %{table: table} = Registry.instance(:completed)

      new =
        for {name, _} <- @limiters ++ [third: nil],
            do: {name, [windows: [w: [limit: 9, per: :day]]]}

      current =
        for {name, _handle, config} <- RateLimiter.Instance.all(Registry.instance(:completed)),
            do: {name, config}

      {:ok, [_, first, _] = steps} = Limits.Change.steps(new, current, :local)
      {:update, :first, [{:w, _from, to}]} = first

      # As it is when the first limiter has its new limit, and the kill comes before the others.
      :ets.insert(table, {{:limits, :pending}, steps, "ann"})
      :ok = RateLimiter.Store.update_limits(RateLimiter.Store.handle(:first), w: to)
      restart_writer(table)

      for {name, used} <- [first: 0, second: 3, third: 0] do
        assert {:ok, %{max: 9, current: ^used}} = RateLimiter.get_usage(name, "u")
      end

      assert [%{by: "ann"}] = Limits.history(20, :completed)
      assert Limits.diff(new, :completed) == {:ok, []}
      # Not a second time.
      restart_writer(table)
      assert length(Limits.history(20, :completed)) == 1
    end

    test "is refused as a whole if another instance has the name of a limiter" do
      start_supervised!(
        {RateLimiter, name: :holder, limiters: [held: [windows: [w: [limit: 5, per: :day]]]]}
      )

      start_supervised!(
        {RateLimiter, name: :refused, limiters: [own: [windows: [w: [limit: 5, per: :day]]]]},
        id: :refused
      )

      window = [windows: [w: [limit: 9, per: :day]]]

      assert {:error, [reason]} =
               Limits.apply([own: window, held: window, more: window], instance: :refused)

      assert reason =~ "the instance :holder has a limiter of this name"
      assert {:ok, %{max: 5}} = RateLimiter.get_usage(:own, "u")
      assert Keyword.keys(RateLimiter.limiters(:refused)) == [:own]
    end

    test "mixes old and new limits in no answer" do
      limiters = [
        mixed: [windows: for(w <- [:a, :b, :c], do: {w, [limit: 1_000_000, per: :day]})]
      ]

      start_supervised!({RateLimiter, name: :mixing, limiters: limiters})
      done = :counters.new(1, [])

      callers =
        for n <- 1..8 do
          Task.async(fn -> answers(n, done, 0) end)
        end

      for round <- 1..30 do
        limit = 1_000_000 + rem(round, 2)
        new = [mixed: [windows: for(w <- [:a, :b, :c], do: {w, [limit: limit, per: :day]})]]
        assert {:ok, [_, _, _]} = Limits.apply(new, instance: :mixing)
      end

      :counters.put(done, 1, 1)
      assert callers |> Task.await_many(:infinity) |> Enum.sum() > 0
    end
  end

  # Events come from the writer, which is another process than the test.
  defp listen(event, by) do
    test = self()
    :ok = :telemetry.attach(test, event, &__MODULE__.forward/4, {test, by})
    on_exit(fn -> :telemetry.detach(test) end)
  end

  def forward(_event, measurements, %{by: by} = metadata, {test, by}),
    do: send(test, {:event, measurements, metadata})

  def forward(_event, _measurements, _metadata, _test), do: :ok

  defp restart_writer(table) do
    writer = Registry.whereis({:writer, table})
    Process.exit(writer, :kill)
    eventually(fn -> Registry.whereis({:writer, table}) not in [nil, writer] end)
    _started = :sys.get_state(Registry.via({:writer, table}), :infinity)
  end

  # Each answer has one maximum in all its windows.
  defp answers(id, done, count) do
    {:ok, usage} = RateLimiter.check_and_track(:mixed, id)
    assert [_one] = usage.windows |> Map.values() |> Enum.map(& &1.max) |> Enum.uniq()
    if :counters.get(done, 1) == 0, do: answers(id, done, count + 1), else: count
  end
end
