defmodule RateLimiter.Instance.SupervisorTest do
  # The lifetime of an instance with limiters of the application.
  use ExUnit.Case, async: true

  import RateLimiter.Support.{Eventually, Processes}

  alias RateLimiter.{Instance, Usage}
  alias RateLimiter.Instance.{Registry, Reporter, Sweeper, Writer}

  @windows [w: [limit: 10, per: :day], v: [algorithm: :fixed_window, limit: 10, per: :day]]

  @moduletag :capture_log

  # A name for each test, because names of limiters are unique on a node.
  setup context do
    %{name: context.test, limiters: [{context.test, [windows: @windows]}]}
  end

  defp start(context),
    do: start_supervised!({RateLimiter, name: context.name, limiters: context.limiters})

  defp child(supervisor, module) do
    [pid] = for {^module, pid, _, _} <- Supervisor.which_children(supervisor), do: pid
    pid
  end

  defp restarted?(supervisor, module, old) do
    new = child(supervisor, module)
    is_pid(new) and new != old
  end

  describe "start_link/1" do
    test "accepts any term as a name", %{limiters: limiters} do
      for name <- [:atom, "binary", 7, {:tenant, 7}, %{a: 1}, nil, self(), make_ref()] do
        {:ok, pid} = RateLimiter.start_link(name: name, limiters: limiters)
        assert RateLimiter.health_check(name) == :ok
        assert [{_limiter, %{windows: [w: _, v: _]}}] = RateLimiter.limiters(name)
        assert %{keys: 0} = RateLimiter.stats(name)
        :ok = Supervisor.stop(pid)
        assert RateLimiter.health_check(name) == {:error, :not_running}
      end
    end

    test "starts several independent instances" do
      for n <- 1..3,
          do:
            start_supervised!(
              {RateLimiter,
               name: {:several, n}, limiters: [{:"several_#{n}", [windows: @windows]}]}
            )

      {:ok, _} = RateLimiter.check_and_track(:several_1, "u", :w, cost: 10)

      assert {:ok, %Usage{limiter: :several_2, current: 1}} =
               RateLimiter.check_and_track(:several_2, "u", :w)

      assert %{keys: 1, checks: 1} = RateLimiter.stats({:several, 1})
      assert %{keys: 0, checks: 0} = RateLimiter.stats({:several, 3})

      :ok = stop_supervised!({:several, 1})

      assert_raise ArgumentError, ~r/^unknown limiter :several_1/, fn ->
        RateLimiter.check_and_track(:several_1, "u", :w)
      end

      assert {:ok, %Usage{current: 2}} = RateLimiter.check_and_track(:several_2, "u", :w)
    end

    test "starts without limiters", %{name: name} do
      start_supervised!({RateLimiter, name: name})
      assert RateLimiter.limiters(name) == []
    end

    test "fails the start of a supervisor with the message of the error", %{name: name} do
      options = [name: name, limiters: [x: [windows: [w: [limit: 0, per: :second]]]]]
      Process.flag(:trap_exit, true)

      assert {:error, {:shutdown, {:failed_to_start_child, ^name, reason}}} =
               Supervisor.start_link([{RateLimiter, options}], strategy: :one_for_one)

      assert {:EXIT,
              {%ArgumentError{
                 message: "limiters.x.windows.w.limit: expected a positive integer, got: 0"
               }, _}} = reason
    end

    test "creates no limiter when one of the names is taken", context do
      start(context)
      [{taken, _}] = context.limiters
      limiters = [instance_left_over: [windows: @windows]] ++ context.limiters

      assert_raise ArgumentError, ~r/has a limiter of this name/, fn ->
        RateLimiter.start_link(name: :other, limiters: limiters)
      end

      assert RateLimiter.Core.Native.handle(:instance_left_over) == nil
      assert {:ok, _} = RateLimiter.check_and_track(taken, "u", :w)
    end

    test "creates no limiter when a name is taken during the start", context do
      start(context)
      Process.flag(:trap_exit, true)

      config =
        Instance.Config.new!(
          name: {:late, context.name},
          limiters: [instance_late: [windows: @windows]] ++ context.limiters
        )

      # A race that the check before the start cannot detect.
      {:error, {%ArgumentError{message: message}, _}} =
        Supervisor.start_link(Instance.Supervisor, config,
          name: Registry.via({:instance, config.name})
        )

      assert message =~ "has a limiter of this name"

      start_supervised!(
        {RateLimiter, name: :again, limiters: [instance_late: [windows: @windows]]}
      )
    end
  end

  describe "child_spec/1" do
    test "returns the specification of a supervisor with the instance's name as id" do
      assert %{
               id: RateLimiter,
               type: :supervisor,
               start: {RateLimiter, :start_link, [[limiters: []]]}
             } = RateLimiter.child_spec(limiters: [])

      assert %{id: {:tenant, 7}} = RateLimiter.child_spec(name: {:tenant, 7})
      assert %{id: {:tenant, 8}} = RateLimiter.child_spec(%{name: {:tenant, 8}})
      assert %{id: RateLimiter} = RateLimiter.child_spec(%{limiters: []})

      # Invalid options are reported by start_link/1.
      for none <- [
            :none,
            nil,
            ["none"],
            %Usage{limiter: 1, window: 1, max: 1, current: 1, remaining: 0}
          ],
          do: assert(%{id: RateLimiter} = RateLimiter.child_spec(none))
    end
  end

  describe "crash of a child" do
    test "loses no count and no change", context do
      supervisor = start(context)
      {:ok, _} = RateLimiter.check_and_track(context.name, "u", cost: 4)
      :ok = RateLimiter.update_limit(context.name, :w, limit: 8)
      :ok = RateLimiter.add_limiter(:instance_added, [windows: @windows], context.name)
      {:ok, _} = RateLimiter.check_and_track(:instance_added, "u", :w)

      for module <- [Writer, Sweeper, Reporter] do
        pid = child(supervisor, module)
        kill(pid)
        assert {:ok, %Usage{max: 8, current: 4}} = RateLimiter.get_usage(context.name, "u", :w)
        eventually(fn -> restarted?(supervisor, module, pid) end)
      end

      assert {:ok, %Usage{current: 1}} = RateLimiter.get_usage(:instance_added, "u", :w)
      assert :ok = RateLimiter.update_limit(context.name, :w, per: :hour)

      assert %{limit: 8, per: :hour} =
               RateLimiter.limiters(context.name)[context.name].windows[:w]

      assert :ok = RateLimiter.remove_limiter(:instance_added)
      assert RateLimiter.health_check(context.name) == :ok
    end
  end

  describe "exit of the supervisor" do
    test "frees limiters and names before an orderly stop returns", context do
      start(context)
      {:ok, _} = RateLimiter.check_and_track(context.name, "u", :w)
      handle = RateLimiter.Core.Native.handle(context.name)
      :ok = stop_supervised(context.name)
      assert RateLimiter.Core.Native.handle(context.name) == nil
      assert RateLimiter.Core.Native.stats(handle) == :unknown_limiter
    end

    test "frees limiters and names after a kill, so that the next instance starts at once without counts",
         context do
      Process.flag(:trap_exit, true)

      for _ <- 1..50 do
        {:ok, supervisor} = RateLimiter.start_link(name: context.name, limiters: context.limiters)
        assert {:ok, %Usage{current: 1}} = RateLimiter.check_and_track(context.name, "u", :w)
        :ok = RateLimiter.add_limiter(:instance_killed, [windows: @windows], context.name)
        kill(supervisor)
      end
    end

    test "frees a name after a kill for any other instance", context do
      Process.flag(:trap_exit, true)
      {:ok, supervisor} = RateLimiter.start_link(name: context.name, limiters: context.limiters)
      kill(supervisor)

      {:ok, other} =
        RateLimiter.start_link(name: {:heir, context.name}, limiters: context.limiters)

      assert {:ok, %Usage{current: 1}} = RateLimiter.check_and_track(context.name, "u", :w)
      assert [_] = RateLimiter.limiters({:heir, context.name})
      Supervisor.stop(other)
    end

    test "restarts with the options under a supervisor", context do
      supervisor = start(context)
      {:ok, _} = RateLimiter.check_and_track(context.name, "u", :w)
      :ok = RateLimiter.update_limit(context.name, :w, limit: 3)
      kill(supervisor)

      eventually(fn ->
        Registry.whereis({:instance, context.name}) not in [nil, supervisor] and
          RateLimiter.health_check(context.name) == :ok
      end)

      assert {:ok, %Usage{current: 1, max: 10}} =
               RateLimiter.check_and_track(context.name, "u", :w)
    end
  end

  describe "add_limiter/3" do
    test "accepts the instance as the last argument or as an option", context do
      start(context)
      assert RateLimiter.add_limiter(:instance_one, [windows: @windows], context.name) == :ok

      assert RateLimiter.add_limiter(:instance_two, windows: @windows, instance: context.name) ==
               :ok

      names = Keyword.keys(RateLimiter.limiters(context.name))
      assert :instance_one in names and :instance_two in names
    end

    test "succeeds once when many processes add the same name", context do
      start(context)

      results =
        1..20
        |> Enum.map(fn _ ->
          Task.async(fn ->
            try do
              RateLimiter.add_limiter(:instance_wanted, [windows: @windows], context.name)
            rescue
              error in ArgumentError -> error.message
            end
          end)
        end)
        |> Task.await_many(:infinity)

      assert [:ok] = Enum.filter(results, &(&1 == :ok))
      assert Enum.count(results, &(is_binary(&1) and &1 =~ "has a limiter of this name")) == 19
    end
  end

  describe "health_check/1" do
    test "returns an error before the start and after the stop", context do
      assert RateLimiter.health_check(context.name) == {:error, :not_running}
      start(context)
      assert RateLimiter.health_check(context.name) == :ok
      stop_supervised!(context.name)
      assert RateLimiter.health_check(context.name) == {:error, :not_running}
    end
  end
end
