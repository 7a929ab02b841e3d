defmodule RateLimiter.NativeTest do
  # The boundary: wrong terms and panics raise, and change nothing.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Store
  alias RateLimiter.Support.Nodes
  alias RateLimiter.Support.Nodes.Guest
  alias RateLimiter.Core.Native

  setup do
    {:ok, handle, owner} = Store.new_limiter(config(), Native.manual_clock(0))
    on_exit(fn -> Native.drop(owner) end)
    %{handle: handle, owner: owner}
  end

  defp config do
    window = RateLimiter.Core.Limit.new!([limit: 10, per: :second], [])
    %{windows: [w: window], events: :none, max_keys: 1_000}
  end

  describe "a term of the wrong kind" do
    test "raises ArgumentError in every function", %{handle: handle, owner: owner} do
      wrong = [1.5, "text", %{}, self(), {}, [:w | :w], make_ref(), -1, 2 ** 64, nil]
      # What has the form of a name, or is no plan at all.
      plans = ["text", {}, -1, 2 ** 64, nil]
      clock = Native.manual_clock(0)
      take = {:take, 1, nil, nil}

      calls = [
        {&Native.check(&1, "u", :w, 1), wrong -- [nil, 2 ** 64]},
        {&Native.check(handle, "u", &1, 1), wrong -- [nil]},
        {&Native.check(handle, "u", :w, &1), wrong -- [-1]},
        {&Native.request(&1, "u", [], take), wrong -- [nil, 2 ** 64]},
        {&Native.request(handle, "u", &1, take), wrong -- [nil]},
        {&Native.request(handle, "u", [&1], take), wrong -- [nil]},
        {&Native.request(handle, "u", [], &1), wrong},
        {&Native.request(handle, "u", [], {&1, 1, nil, nil}), [:steal | wrong]},
        {&Native.request(handle, "u", [], {:peek, &1, nil, nil}), wrong -- [-1]},
        {&Native.request(handle, "u", [], {:take, 1, &1, nil}), wrong -- [nil]},
        {&Native.request(handle, "u", [], {:take, 1, {&1, 1}, nil}), wrong -- ["text"]},
        {&Native.request(handle, "u", [], {:take, 1, {"r", &1}, nil}), wrong},
        {&Native.request_alone(handle, "u", [], {&1, 1, nil, nil}), [:steal | wrong]},
        {&Native.request(handle, "u", [], {:take, 1, nil, &1}), wrong -- plans},
        {&Native.check_under(handle, "u", :w, 1, &1), wrong -- plans},
        {&Native.put_plans(handle, &1), wrong},
        {&Native.put_plans(handle, [{:pro, &1}]), wrong},
        {&Native.put_plans(handle, [{:pro, [{:w, &1, nil, nil, nil}]}]), wrong -- [nil]},
        {&Native.request_batch(handle, &1, [], :take, nil), wrong},
        {&Native.request_batch(handle, [&1], [], :take, nil), wrong},
        {&Native.request_batch(handle, [{"u", &1}], [], :take, nil), wrong -- [-1]},
        {&Native.request_batch(handle, [{"u", 1}], &1, :take, nil), wrong -- [nil]},
        {&Native.request_batch(handle, [{"u", 1}], [], &1, nil), [:steal | wrong]},
        {&Native.await(&1, make_ref()), [owner | wrong]},
        {&Native.cancel/1, [owner | wrong]},
        {&Native.limit_check(&1, :local), wrong},
        {&Native.limit_check({:w, :token_bucket, 1, 1, nil, nil, {false, true}}, &1),
         [:elsewhere | wrong]},
        {&Native.new_limiter(&1, {:all, 1, nil, :monotonic}), wrong},
        {&Native.new_limiter([&1], {:all, 1, nil, :monotonic}), wrong},
        {&Native.new_limiter(
           [{:w, &1, 1, 1, nil, nil, {false, true}}],
           {:all, 1, nil, :monotonic}
         ), [:magic | wrong]},
        {&Native.new_limiter([{:w, :token_bucket, 1, 1, nil, nil, {false, true}}], &1), wrong},
        {&Native.new_limiter(
           [{:w, :token_bucket, 1, 1, nil, nil, {false, true}}],
           {:some, 1, nil, &1}
         ), wrong},
        {&Native.count_top(&1, 1, false, :monotonic), wrong -- [nil, 2 ** 64]},
        {&Native.count_top(handle, &1, false, :monotonic), wrong},
        {&Native.count_top(handle, 1, &1, :monotonic), wrong},
        {&Native.count_top(handle, 1, false, &1), wrong},
        {&Native.top(&1, :w, :calls, 1), wrong -- [nil, 2 ** 64]},
        {&Native.top(handle, :w, &1, 1), [:cost | wrong]},
        {&Native.top(handle, :w, :calls, &1), wrong},
        {&Native.drop/1, wrong ++ [clock]},
        {&Native.bind(:boundary_name, &1), [handle, clock | wrong]},
        {&Native.bind(&1, owner), wrong -- [nil]},
        {&Native.unbind(:boundary_name, &1), wrong},
        {&Native.set_test_owned(:boundary_name, &1), wrong},
        {&Native.handle/1, wrong -- [nil]},
        {&Native.plan/1, wrong -- [nil, 2 ** 64]},
        {&Native.stats/1, wrong -- [nil, 2 ** 64]},
        {&Native.set_scale(handle, &1), wrong},
        {&Native.update_limits(&1, []), wrong -- [nil, 2 ** 64]},
        {&Native.update_limits(handle, &1), wrong},
        {&Native.update_limits(handle, [&1]), wrong},
        {&Native.forget/1, wrong -- [nil, 2 ** 64]},
        {&Native.set_generation(&1, 1), wrong -- [nil, 2 ** 64]},
        {&Native.set_generation(handle, &1), wrong},
        {&Native.document(&1, :json), wrong -- ["text"]},
        {&Native.document("", &1), [:yaml | wrong]},
        {&Native.preview(&1, []), wrong -- [nil, 2 ** 64]},
        {&Native.preview(handle, &1), wrong},
        {&Native.preview(handle, [&1]), wrong},
        {&Native.sweep(handle, &1), wrong},
        {&Native.new_shared_limiter([], {:all, 1, nil, :share}, {&1, :name}), wrong},
        {&Native.new_shared_limiter([], {:all, 1, nil, &1}, {1, :name}), [:perhaps | wrong]},
        {&Native.redis_start(&1, {nil, nil}), wrong},
        {&Native.redis_stop/1, [owner | wrong]},
        {&Native.redis_subscribe(1, &1), wrong -- [self()]},
        {&Native.redis_report_batches(1, &1), wrong},
        {&Native.redis_status/1, wrong},
        {&Native.redis_command(&1, make_ref(), "key", ["PING"]), wrong},
        {&Native.redis_command(1, make_ref(), &1, ["PING"]), wrong -- ["text"]},
        {&Native.redis_command(1, make_ref(), "key", &1), [[], [:ping], [1] | wrong]},
        {&Native.manual_clock/1, wrong},
        {&Native.manual_clock_now/1, [owner | wrong]},
        {&Native.manual_clock_advance(&1, 1), [owner | wrong]},
        {&Native.manual_clock_set(clock, &1), wrong}
      ]

      for {call, terms} <- calls, term <- terms do
        assert_raise ArgumentError, fn ->
          flunk("#{inspect(call)} took #{inspect(term)} and answered #{inspect(call.(term))}")
        end
      end

      assert {:ok, :none, 10, 9, _, _, 0, 1_000_000, _, _} = Native.check(handle, "u", :w, 1)
    end
  end

  describe "a handle" do
    test "that was never returned finds no limiter" do
      for stranger <- [0, 1, 2 ** 24 - 1, 2 ** 32, 2 ** 55, 2 ** 63, 2 ** 64 - 1] do
        assert Native.check(stranger, "u", :w, 1) == :unknown_limiter
        assert Native.stats(stranger) == :unknown_limiter
      end
    end

    test "of a closed limiter does not find the limiter that has its place now", %{
      handle: handle,
      owner: owner
    } do
      assert Native.drop(owner) == :ok

      {:ok, other, other_owner} = Store.new_limiter(config(), :monotonic)

      assert other != handle
      assert Native.check(handle, "u", :w, 1) == :unknown_limiter
      assert Native.plan(handle) == :unknown_limiter
      assert Native.sweep(handle, 10) == :unknown_limiter
      assert Native.drop(owner) == :ok
      assert {:ok, _, _, 9, _, _, _, _, _, _} = Native.check(other, "u", :w, 1)
      Native.drop(other_owner)
    end
  end

  describe "an owner" do
    test "that is garbage collected closes its limiter and frees its name" do
      {handle, name} =
        Task.await(
          Task.async(fn ->
            {:ok, handle, owner} = Store.new_limiter(config(), :monotonic)

            :ok = Native.bind(:boundary_orphan, owner)
            assert Native.handle(:boundary_orphan) == handle
            {handle, :boundary_orphan}
          end),
          :infinity
        )

      # The runtime frees the terms of a process a moment after it has ended.
      eventually(fn -> Native.handle(name) == nil end)
      assert Native.stats(handle) == :unknown_limiter
    end
  end

  describe "a panic inside" do
    test "raises an error with its message, and later calls work", %{handle: handle} do
      error = assert_raise ErlangError, fn -> Native.panic("something impossible") end
      assert error.original == {:rate_limiter_panic, "something impossible"}
      assert {:ok, _, 10, 9, _, _, _, _, _, _} = Native.check(handle, "u", :w, 1)
    end
  end

  describe "load/0" do
    # The runtime reports a refusal from another process, which may do so after the test.
    test "does not load the library over itself, and keeps the running code" do
      report = fn
        %{msg: {:report, %{args: [Native | _]}}}, test -> send(test, :reported) && :stop
        _event, _test -> :ignore
      end

      :ok = :logger.add_primary_filter(__MODULE__, {report, self()})
      on_exit(fn -> :logger.remove_primary_filter(__MODULE__) end)
      assert {:error, :on_load_failure} = :code.load_file(Native)
      assert_receive :reported, 30_000
      assert {:ok, _handle, _owner} = Store.new_limiter(config(), :monotonic)
    end

    test "brings the module back after a forced recompile, once its old code is purged" do
      [node] = Nodes.start!(1)
      limiters = [api: [windows: [w: [limit: 10, per: :day]]]]
      :ok = Nodes.call(node, Guest, :serve_alone, [[limiters: limiters]])
      check = fn -> Nodes.call(node, RateLimiter, :check_and_track, [:api, "u", :w]) end
      assert {:ok, %{remaining: 9}} = check.()

      # As Mix does before it compiles a module again.
      Nodes.call(node, :code, :purge, [Native])
      assert Nodes.call(node, :code, :delete, [Native])
      assert catch_error(check.()) == :undef

      # The instance keeps the library in memory, and so the counts.
      Nodes.call(node, :code, :purge, [Native])
      assert {:ok, %{remaining: 8}} = check.()
    end

    test "lets every other module be compiled and loaded again" do
      RateLimiter.Test.start(limiters: [boundary_reload: [windows: [w: [limit: 10, per: :day]]]])
      {:ok, _} = RateLimiter.check_and_track(:boundary_reload, "u", :w)

      for module <- [
            RateLimiter,
            RateLimiter.Store,
            RateLimiter.Usage,
            RateLimiter.Instance.Registry
          ] do
        :code.purge(module)
        assert {:module, ^module} = :code.load_file(module)
      end

      assert {:ok, %{remaining: 8}} = RateLimiter.check_and_track(:boundary_reload, "u", :w)
    end
  end
end
