defmodule RateLimiter.VSM.RunTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually, only: [eventually: 1]
  import RateLimiter.Support.Histories, only: [for_all: 3]

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.{Test, Usage, VSM}
  alias RateLimiter.VSM.{Gate, Tree}

  setup do
    Test.start(vsm: [subsystems: [front: [limit: 10, per: :second, law: Fixed]]])
  end

  defp gate, do: Tree.subsystem!(RateLimiter, :front).gate
  defp in_flight, do: VSM.subsystem_metrics().front.in_flight
  defp work, do: gate() |> Gate.drain() |> elem(0)

  describe "run/4" do
    test "returns the result and counts its duration" do
      assert VSM.run(:front, "a", fn -> Test.advance(40) && :done end) == {:ok, :done}
      assert %{ok: 1, errors: 0, latency: %{count: 1, sum_us: 40_000}} = work()
      assert in_flight() == 0
    end

    test "the way in which the function ends is its outcome, and passes through" do
      denial =
        {:error, :rate_limited, %Usage{limiter: :x, window: :w, max: 1, current: 1, remaining: 0}}

      for {fun, outcome, passed} <- [
            {fn -> {:error, :nxdomain} end, :errors, {:ok, {:ok, {:error, :nxdomain}}}},
            {fn -> raise "boom" end, :errors, {:error, %RuntimeError{message: "boom"}}},
            {fn -> throw(:ball) end, :errors, {:throw, :ball}},
            {fn -> exit(:crash) end, :errors, {:exit, :crash}},
            {fn -> exit({:noproc, {GenServer, :call, []}}) end, :errors,
             {:exit, {:noproc, {GenServer, :call, []}}}},
            {fn -> exit({:timeout, {GenServer, :call, []}}) end, :timeouts,
             {:exit, {:timeout, {GenServer, :call, []}}}},
            {fn -> exit(:timeout) end, :timeouts, {:exit, :timeout}},
            {fn -> exit(:normal) end, nil, {:exit, :normal}},
            {fn -> exit(:shutdown) end, nil, {:exit, :shutdown}},
            {fn -> exit({:shutdown, :reason}) end, nil, {:exit, {:shutdown, :reason}}},
            {fn -> exit({{:shutdown, :reason}, {GenServer, :call, []}}) end, nil,
             {:exit, {{:shutdown, :reason}, {GenServer, :call, []}}}},
            {fn -> denial end, nil, {:ok, {:ok, denial}}}
          ] do
        assert caught(fn -> VSM.run(:front, "a", fun) end) == passed
        work = work()

        counted =
          for key <- [:ok, :errors, :timeouts, :rejected],
              Map.fetch!(work, key) > 0,
              do: {key, Map.fetch!(work, key)}

        assert counted == if(outcome, do: [{outcome, 1}], else: [])
        assert work.latency.count == 0
        assert in_flight() == 0
        Test.advance(:second)
      end
    end

    defp caught(fun) do
      {:ok, fun.()}
    catch
      kind, reason -> {kind, reason}
    end

    test "keeps the stack trace of an error" do
      VSM.run(:front, "a", fn -> raise ArgumentError, "x" end)
    rescue
      ArgumentError -> assert [{__MODULE__, _fun, 0, _} | _] = __STACKTRACE__
    end

    test "the option :outcome replaces the outcome" do
      VSM.run(:front, "a", fn -> 503 end, outcome: fn 503 -> :rejected end)
      VSM.run(:front, "a", fn -> {:error, :not_found} end, outcome: :ok)
      VSM.run(:front, "a", fn -> :any end, outcome: :none)
      assert %{ok: 1, rejected: 1, errors: 0} = work()

      assert_raise ArgumentError,
                   "outcome: expected the function to return one of :ok, :error, :timeout, :rejected, :none, got: :fine",
                   fn -> VSM.run(:front, "a", fn -> 1 end, outcome: fn 1 -> :fine end) end

      assert in_flight() == 0
    end

    test "does not run the function of a denied call" do
      assert {:error, :rate_limited, %{window: :rate}} =
               VSM.run(:front, "a", fn -> flunk("ran") end, cost: 11)

      assert in_flight() == 0
      assert %{denied: 1, asked: 1, abandoned: 0} = VSM.subsystem_metrics().front
    end

    test "the guard denies calls above it without consuming the limit" do
      Gate.set_guard(gate(), 2)

      nested = fn again -> VSM.run(:front, "a", again) end

      assert {:ok, {:ok, {:error, :rate_limited, usage}}} =
               nested.(fn -> nested.(fn -> nested.(fn -> flunk("ran") end) end) end)

      assert %Usage{window: :in_flight, max: 2, current: 2, remaining: 0, limiter: :front} = usage
      assert usage.retry_after_ms > 0
      assert %{guarded: 1, in_flight: 0, usage: %{current: 2}} = VSM.subsystem_metrics().front
    end

    test "a killed caller is no longer in flight, and counts as abandoned" do
      test = self()

      killed =
        spawn(fn ->
          receive do: (:go -> :ok)
          VSM.run(:front, "a", fn -> send(test, :running) && Process.sleep(:infinity) end)
        end)

      Test.allow(test, killed)
      send(killed, :go)
      assert_receive :running, 30_000
      assert in_flight() == 1
      Process.exit(killed, :kill)
      assert eventually(fn -> in_flight() == 0 end)
      assert %{abandoned: 1} = VSM.subsystem_metrics().front
      assert %{ok: 0, errors: 0, timeouts: 0} = work()
    end

    test "the call stays in flight during garbage collections" do
      VSM.run(:front, "a", fn ->
        for _ <- 1..5, do: :erlang.garbage_collect()
        assert in_flight() == 1
      end)

      assert in_flight() == 0
    end

    test "in random histories of callers and guards, the calls in flight are always counted exactly" do
      for_all seed, 60 do
        :rand.seed(:exsss, {seed, 2, 3})
        Test.advance({1, :minute})
        actions = [:start, :start, :end, :guard, :check]
        callers = Enum.reduce(1..40, %{}, fn _, callers -> act(Enum.random(actions), callers) end)

        for {pid, ref} <- callers, do: finish(pid, ref, Enum.random([:return, :kill]))
        assert eventually(fn -> in_flight() == 0 end)
      end
    end
  end

  ## Random histories: what each of many callers does, in random order, under a changing guard

  defp act(:start, callers) do
    test = self()
    guard = VSM.subsystem_metrics().front.guard

    {pid, ref} = spawn_monitor(fn -> caller(test) end)
    Test.allow(test, pid)
    send(pid, :go)

    receive do
      {^pid, :running} ->
        assert guard == :infinity or map_size(callers) < guard
        Map.put(callers, pid, ref)

      {^pid, {:ok, {:error, :rate_limited, %{window: window}}}} ->
        assert window == :rate or map_size(callers) >= guard
        assert_receive {:DOWN, ^ref, _, _, _}, 30_000
        callers
    after
      30_000 -> flunk("the caller neither ran nor was denied")
    end
  end

  defp act(:end, callers) when callers == %{}, do: callers

  defp act(:end, callers) do
    {pid, ref} = Enum.random(callers)
    finish(pid, ref, Enum.random([:return, :raise, :throw, :exit, :kill, :error]))
    callers = Map.delete(callers, pid)
    assert eventually(fn -> in_flight() == map_size(callers) end)
    callers
  end

  defp act(:guard, callers) do
    Gate.set_guard(gate(), Enum.random([:infinity, 1, 3, 8]))
    callers
  end

  defp act(:check, callers) do
    assert in_flight() == map_size(callers)
    callers
  end

  defp caller(test) do
    receive do: (:go -> :ok)

    work = fn ->
      send(test, {self(), :running})

      receive do
        :return -> :ok
        :error -> {:error, :failed}
        :raise -> raise "raised"
        :throw -> throw(:ball)
        :exit -> exit(:shutdown)
      end
    end

    send(test, {self(), caught(fn -> VSM.run(:front, "a", work) end)})
  end

  defp finish(pid, ref, :kill) do
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, _, _, :killed}, 30_000
  end

  defp finish(pid, ref, how) do
    send(pid, how)
    assert_receive {:DOWN, ^ref, _, _, :normal}, 30_000
    assert_received {^pid, result}

    assert result ==
             (case how do
                :return -> {:ok, {:ok, :ok}}
                :error -> {:ok, {:ok, {:error, :failed}}}
                :raise -> {:error, %RuntimeError{message: "raised"}}
                :throw -> {:throw, :ball}
                :exit -> {:exit, :shutdown}
              end)
  end
end
