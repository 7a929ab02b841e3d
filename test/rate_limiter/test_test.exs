defmodule RateLimiter.TestTest do
  use ExUnit.Case, async: true

  doctest RateLimiter.Test

  alias RateLimiter.Usage

  @windows [w: [limit: 10, per: :minute]]

  defp start(name \\ :tested, windows \\ @windows),
    do: RateLimiter.Test.start(limiters: [{name, [windows: windows]}])

  defp current(name \\ :tested) do
    {:ok, usage} = RateLimiter.check_and_track(name, "u", :w)
    usage.current
  end

  # A process that the test neither called nor started.
  defp outside_process(work) do
    test = self()

    pid =
      spawn(fn ->
        result =
          try do
            work.()
          rescue
            error in ArgumentError -> error.message
          end

        send(test, {self(), result})
      end)

    assert_receive {^pid, result}, 30_000
    result
  end

  describe "start/1" do
    test "gives each test process its own limiter of a name" do
      start()

      others =
        for _ <- 1..20 do
          Task.async(fn ->
            start()
            for _ <- 1..5, do: current()
          end)
        end

      assert current() == 1
      for counts <- Task.await_many(others, :infinity), do: assert(counts == [1, 2, 3, 4, 5])
      assert current() == 2
    end

    test "is used by processes that the test calls and starts" do
      start()
      assert Task.await(Task.async(fn -> current() end), :infinity) == 1

      assert Task.await(
               Task.async(fn -> Task.await(Task.async(fn -> current() end), :infinity) end),
               :infinity
             ) == 2

      assert [{:ok, 3}] =
               Enum.to_list(Task.async_stream([1], fn _ -> current() end, timeout: :infinity))

      agent = start_supervised!({Agent, fn -> nil end})
      assert Agent.get(agent, fn _ -> current() end) == 4
      {:ok, linked} = Agent.start_link(fn -> nil end)
      assert Agent.get(linked, fn _ -> current() end) == 5

      assert Agent.get(linked, fn _ -> Task.await(Task.async(fn -> current() end), :infinity) end) ==
               6
    end

    test "is not used by any other process" do
      start(:tested_alone)

      assert outside_process(fn -> current(:tested_alone) end) =~
               ~r/^unknown limiter :tested_alone/
    end

    test "leaves the application's limiter to all other processes" do
      start_supervised!(
        {RateLimiter, name: :tested_app, limiters: [tested_both: [windows: @windows]]}
      )

      assert current(:tested_both) == 1
      assert outside_process(fn -> current(:tested_both) end) == 2

      start(:tested_both, w: [limit: 3, per: :minute])
      assert current(:tested_both) == 1
      assert outside_process(fn -> current(:tested_both) end) == 3
      assert {:ok, %Usage{max: 3}} = RateLimiter.get_usage(:tested_both, "u", :w)

      assert outside_process(fn -> RateLimiter.check_batch(:tested_both, [{"v", 10}], :w) end)
             |> hd()
             |> elem(0) == :ok

      assert outside_process(fn -> RateLimiter.get_usage(:tested_both, "u") end)
             |> elem(1)
             |> Map.get(:current) == 3
    end

    test "allows the application to start its limiter of the name later" do
      start(:tested_later)

      start_supervised!(
        {RateLimiter, name: :tested_later, limiters: [tested_later: [windows: @windows]]}
      )

      assert outside_process(fn -> current(:tested_later) end) == 1
      assert current(:tested_later) == 1
      :ok = stop_supervised!(:tested_later)
      assert outside_process(fn -> current(:tested_later) end) =~ "unknown limiter"
      assert current(:tested_later) == 2
    end

    test "adds limiters with the same clock when it is called again" do
      start(:one)
      RateLimiter.Test.advance(5_000)
      start(:two)
      assert current(:one) == 1
      assert current(:two) == 1
      assert RateLimiter.Test.now() == ~U[2025-01-01 00:00:05.000000Z]
      assert Keyword.keys(RateLimiter.limiters()) == [:one, :two]
    end

    test "validates options as an instance does" do
      for {options, message} <- [
            {[limiters: [a: [windows: [w: [limit: 0, per: :second]]]]],
             "limiters.a.windows.w.limit: expected a positive integer, got: 0"},
            {[limiter: []], "options: unknown option :limiter, did you mean :limiters?"},
            {[stats_interval: 5],
             "options: unknown option :stats_interval, known options are :name, :limiters and :vsm"}
          ] do
        assert_raise ArgumentError, message, fn -> RateLimiter.Test.start(options) end
      end
    end

    test "rejects a limiter that this test already has, and a second instance" do
      start(:one)

      assert_raise ArgumentError,
                   ~r/^limiters.one: the instance RateLimiter has a limiter of this name/,
                   fn -> start(:one) end

      assert_raise ArgumentError,
                   "name: expected RateLimiter, which the limiters of this test already replace, got: :other",
                   fn ->
                     RateLimiter.Test.start(name: :other, limiters: [])
                   end
    end

    test "replaces the given instance, and no other" do
      start_supervised!(
        {RateLimiter, name: :tested_real, limiters: [tested_real: [windows: @windows]]}
      )

      RateLimiter.Test.start(name: {:stand, :in}, limiters: [stood: [windows: @windows]])
      assert [stood: _] = RateLimiter.limiters({:stand, :in})
      assert [tested_real: _] = RateLimiter.limiters(:tested_real)
      assert %{limiters: %{stood: _}} = RateLimiter.stats({:stand, :in})
      assert RateLimiter.health_check({:stand, :in}) == :ok

      assert outside_process(fn -> RateLimiter.health_check({:stand, :in}) end) ==
               {:error, :not_running}
    end

    test "starts limiters that end with the test process" do
      test = self()

      owner =
        spawn(fn ->
          start(:tested_ending)
          send(test, {:handle, RateLimiter.Test.Registry.limiter(:tested_ending)})
          receive do: (:end -> :ok)
        end)

      assert_receive {:handle, handle}, 30_000
      %{writer: instance} = RateLimiter.Test.Registry.instance(owner)
      ref = Process.monitor(instance)
      send(owner, :end)
      assert_receive {:DOWN, ^ref, :process, ^instance, :normal}, 30_000
      assert RateLimiter.Core.Native.stats(handle) == :unknown_limiter
      assert RateLimiter.Test.Registry.instance(owner) == nil
    end
  end

  describe "all functions of RateLimiter" do
    test "use the test's limiter, and not the application's" do
      start_supervised!(
        {RateLimiter, name: RateLimiter.TestTest, limiters: [tested_door: [windows: @windows]]}
      )

      RateLimiter.Test.start(
        name: RateLimiter.TestTest,
        limiters: [tested_door: [windows: @windows]]
      )

      {:ok, _} = RateLimiter.check_and_track(:tested_door, "u")
      {:ok, _} = RateLimiter.check_and_track(:tested_door, "u", :w)
      [{:ok, _}] = RateLimiter.check_batch(:tested_door, [{"u", 1}], :w)
      [{:ok, _}] = RateLimiter.check_batch(:tested_door, [{"u", 1}])
      200 = length(RateLimiter.check_batch(:tested_door, List.duplicate({"u", 0}, 200), :w))
      {:ok, _} = RateLimiter.refund(:tested_door, "u", :w)
      {:ok, %Usage{current: 3}} = RateLimiter.get_usage(:tested_door, "u", :w)
      {:ok, [{"u", %Usage{current: 3}}]} = RateLimiter.get_usage_batch(:tested_door, ["u"], :w)
      {:ok, %Usage{current: 4}} = RateLimiter.peek(:tested_door, "u", :w)
      :ok = RateLimiter.update_limit(:tested_door, :w, limit: 4)
      :ok = RateLimiter.reset(:tested_door, "u")
      :ok = RateLimiter.add_limiter(:tested_added, [windows: @windows], RateLimiter.TestTest)

      assert [:tested_added, :tested_door] =
               Keyword.keys(RateLimiter.limiters(RateLimiter.TestTest))

      assert %{checks: 204} = RateLimiter.stats(RateLimiter.TestTest).limiters.tested_door

      assert [tested_door: %{windows: [w: %{limit: 10}]}] =
               outside_process(fn -> RateLimiter.limiters(RateLimiter.TestTest) end)

      assert %{checks: 0} = outside_process(fn -> RateLimiter.stats(RateLimiter.TestTest) end)
      :ok = RateLimiter.remove_limiter(:tested_door)
      assert outside_process(fn -> current(:tested_door) end) == 1
      # For a name that the test does not have, it uses the application's limiter.
      assert current(:tested_door) == 2
    end
  end

  test "allow/2, advance/1 and set/1 reject invalid processes and times" do
    RateLimiter.Test.start(limiters: [])

    for {message, call} <- [
          {"set: expected a DateTime, got: ~N[2025-01-01 00:00:00]",
           fn -> RateLimiter.Test.set(~N[2025-01-01 00:00:00]) end},
          {"set: expected a time from 1970 to 2554, got: ~U[1969-12-31 23:59:59Z]",
           fn -> RateLimiter.Test.set(~U[1969-12-31 23:59:59Z]) end},
          {"set: expected a time from 1970 to 2554, got: ~U[9999-01-01 00:00:00Z]",
           fn -> RateLimiter.Test.set(~U[9999-01-01 00:00:00Z]) end},
          {"advance: expected a duration that ends before the year 2554, got: 100000000000000000000",
           fn -> RateLimiter.Test.advance(100_000_000_000_000_000_000) end},
          {"allow: expected a pid as the second argument, got: :worker",
           fn -> RateLimiter.Test.allow(self(), :worker) end},
          {"allow: expected the pid of the test as the first argument, got: nil",
           fn -> RateLimiter.Test.allow(nil, self()) end}
        ] do
      assert Exception.message(catch_error(call.())) == message
    end
  end

  describe "allow/2" do
    test "lets a process use the limiters and the clock" do
      start()
      {:ok, worker} = outside_process(fn -> Agent.start(fn -> nil end) end)
      assert Agent.get(worker, fn _ -> RateLimiter.Test.Registry.instance() end) == nil
      assert RateLimiter.Test.allow(self(), worker) == :ok
      assert RateLimiter.Test.allow(self(), worker) == :ok
      assert Agent.get(worker, fn _ -> current() end) == 1
      RateLimiter.Test.advance(60_000)
      assert Agent.get(worker, fn _ -> current() end) == 1

      assert Agent.get(worker, fn _ -> Task.await(Task.async(fn -> current() end), :infinity) end) ==
               2
    end

    test "can be called by an allowed process for another one" do
      start()
      {:ok, one} = outside_process(fn -> Agent.start(fn -> nil end) end)
      {:ok, two} = outside_process(fn -> Agent.start(fn -> nil end) end)
      :ok = RateLimiter.Test.allow(self(), one)
      :ok = RateLimiter.Test.allow(one, two)
      assert Agent.get(two, fn _ -> current() end) == 1
    end

    test "rejects a process of another test, and a test without limiters" do
      start()
      {:ok, worker} = outside_process(fn -> Agent.start(fn -> nil end) end)

      assert_raise ArgumentError,
                   "allow: expected a test process with limiters, got: #{inspect(worker)}",
                   fn ->
                     RateLimiter.Test.allow(worker, self())
                   end

      Agent.get(worker, fn _ -> start() end)

      assert_raise ArgumentError,
                   "allow: #{inspect(worker)} already belongs to another test",
                   fn ->
                     RateLimiter.Test.allow(self(), worker)
                   end
    end
  end

  describe "advance/1" do
    setup do: start()

    test "accepts milliseconds and periods" do
      for step <- [0, 1, 999, :millisecond, :second, :minute, {2, :hour}, {3, :day}],
          do: assert(RateLimiter.Test.advance(step) == :ok)

      assert RateLimiter.Test.now() == ~U[2025-01-04 02:01:02.001000Z]
    end

    test "frees what was used" do
      {:ok, _} = RateLimiter.check_and_track(:tested, "u", :w, cost: 10)
      RateLimiter.Test.advance({6, :second})
      assert {:ok, %Usage{remaining: 1}} = RateLimiter.get_usage(:tested, "u", :w)
      RateLimiter.Test.advance({54, :second})
      assert {:ok, %Usage{remaining: 10}} = RateLimiter.get_usage(:tested, "u", :w)
    end

    test "handles a year without calls" do
      {:ok, _} = RateLimiter.check_and_track(:tested, "u", :w, cost: 10)
      RateLimiter.Test.advance({366, :day})
      assert {:ok, %Usage{remaining: 10, current: 0}} = RateLimiter.get_usage(:tested, "u", :w)
    end

    test "does not move the clock of another test" do
      before = RateLimiter.Test.now()

      Task.await(
        Task.async(fn ->
          start()
          RateLimiter.Test.advance(:hour)
        end),
        :infinity
      )

      assert RateLimiter.Test.now() == before
    end

    test "rejects an invalid duration" do
      for wrong <- [-1, 1.5, nil, :fortnight, {0, :second}, {1, :fortnight}] do
        assert_raise ArgumentError,
                     "advance: expected milliseconds or a period, got: #{inspect(wrong)}",
                     fn -> RateLimiter.Test.advance(wrong) end
      end
    end
  end

  describe "set/1 and now/0" do
    test "raise an error in a process without limiters" do
      for call <- [
            &RateLimiter.Test.now/0,
            fn -> RateLimiter.Test.advance(1) end,
            fn -> RateLimiter.Test.set(~U[2025-01-01 00:00:00Z]) end
          ] do
        assert outside_process(call) =~
                 "does not belong to a test with limiters. Call RateLimiter.Test.start/1 in the test, or allow/2"
      end
    end

    test "a step backward frees nothing" do
      start()
      RateLimiter.Test.advance({1, :hour})
      {:ok, _} = RateLimiter.check_and_track(:tested, "u", :w, cost: 10)
      RateLimiter.Test.set(~U[2025-01-01 00:30:00Z])
      assert {:error, :rate_limited, usage} = RateLimiter.check_and_track(:tested, "u", :w)
      assert %Usage{remaining: 0, retry_after_ms: 1_806_000} = usage
    end

    test "windows are aligned to the clock of the test" do
      start(:aligned,
        hour: [algorithm: :fixed_window, limit: 1, per: :hour],
        day: [algorithm: :fixed_window, limit: 2, per: :day]
      )

      RateLimiter.Test.set(~U[2025-06-01 22:59:59Z])
      {:ok, _} = RateLimiter.check_and_track(:aligned, "u")
      assert {:error, :rate_limited, usage} = RateLimiter.check_and_track(:aligned, "u")
      assert %Usage{window: :hour, retry_after_ms: 1_000} = usage
      RateLimiter.Test.advance(1_000)
      {:ok, _} = RateLimiter.check_and_track(:aligned, "u")
      RateLimiter.Test.set(~U[2025-06-01 23:59:59.999Z])

      assert {:error, :rate_limited, %Usage{retry_after_ms: 1}} =
               RateLimiter.check_and_track(:aligned, "u")

      RateLimiter.Test.advance(1)
      assert {:ok, _} = RateLimiter.check_and_track(:aligned, "u")
    end
  end
end
