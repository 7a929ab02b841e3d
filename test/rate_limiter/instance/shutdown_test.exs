defmodule RateLimiter.Instance.ShutdownTest do
  # What an instance does before it ends, with a real Redis and without one.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Instance.{Config, Registry, Shutdown}
  alias RateLimiter.Support.Redis

  @moduletag :capture_log

  setup context do
    test = self()

    handle = fn _event, measurements, metadata, _config ->
      if metadata.instance == context.test, do: send(test, {:shutdown, measurements})
    end

    :telemetry.attach(context.test, [:rate_limiter, :shutdown], handle, nil)
    on_exit(fn -> :telemetry.detach(context.test) end)
    %{name: context.test, limiters: [{context.test, [windows: [day: [limit: 100, per: :day]]]}]}
  end

  defp shared(context, server, options \\ []) do
    store = {:redis, url: Redis.url(server), prefix: "shutdown", nodes: 1, timeout: 200}
    [name: context.name, limiters: context.limiters, store: store] ++ options
  end

  # In an outage this node admits calls, and owes them.
  defp owe!(limiter, server) do
    Redis.kill(server)

    eventually(fn ->
      match?({:ok, %{source: :fallback}}, RateLimiter.check_and_track(limiter, "probe", :day))
    end)

    for id <- 1..40,
        do: {:ok, %{source: :fallback}} = RateLimiter.check_and_track(limiter, id, :day, cost: 7)
  end

  describe "an instance that owes" do
    test "reports it to a Redis that is back, and signs off", context do
      server = Redis.start!()
      start_supervised!({RateLimiter, shared(context, server, shutdown: [within: 20_000])})
      Redis.ready!(context.name, :day)
      eventually(fn -> nodes(server) == 1 end)
      owe!(context.name, server)
      Redis.restart!(server)
      :ok = stop_supervised(context.name)

      assert_received {:shutdown, %{owing: 0, settled: settled}}
      # Some were reported by the background before.
      assert settled >= 0
      assert nodes(server) == 0

      # Another node sees all of them.
      start_supervised!({RateLimiter, shared(context, server)})
      Redis.ready!(context.name, :day)

      for id <- 1..40 do
        {:ok, usage} = RateLimiter.get_usage(context.name, id, :day)
        assert {usage.source, usage.current} == {:redis, 7}
      end
    end

    test "does not wait longer than the deadline for a Redis that stays away", context do
      server = Redis.start!()
      start_supervised!({RateLimiter, shared(context, server, shutdown: [within: 100])})
      Redis.ready!(context.name, :day)
      owe!(context.name, server)

      log = ExUnit.CaptureLog.capture_log(fn -> :ok = stop_supervised(context.name) end)

      assert_received {:shutdown, %{owing: owing, duration_ms: duration_ms}}
      assert owing > 0
      # The deadline, and that of the calls in flight.
      assert duration_ms < 5_000
      assert log =~ "stops while Redis is away: what #{owing} ids have used in the outage is lost"
    end

    test "does not wait at all with a deadline of 0", context do
      server = Redis.start!()
      start_supervised!({RateLimiter, shared(context, server, shutdown: [within: 0])})
      Redis.ready!(context.name, :day)
      owe!(context.name, server)
      :ok = stop_supervised(context.name)
      assert_received {:shutdown, %{settled: 0}}
    end
  end

  describe "an instance that owes nothing" do
    test "stops at once, also without its Redis", context do
      server = Redis.start!()
      start_supervised!({RateLimiter, shared(context, server, shutdown: [within: 60_000])})
      Redis.ready!(context.name, :day)
      Redis.kill(server)
      :ok = stop_supervised(context.name)
      assert_received {:shutdown, %{owing: 0, duration_ms: duration_ms}}
      assert duration_ms < 60_000
    end

    test "in memory has nothing to do, and no process for it", context do
      supervisor =
        start_supervised!({RateLimiter, name: context.name, limiters: context.limiters})

      refute Enum.any?(Supervisor.which_children(supervisor), &(elem(&1, 0) == Shutdown))
      :ok = stop_supervised(context.name)
      refute_received {:shutdown, _}
    end
  end

  describe "admit: false" do
    test "denies calls from the beginning of the stop on, and says so", context do
      limiter = context.name
      test = self()

      # The handler runs while the instance stops.
      handle = fn _event, _measurements, %{instance: name}, _config ->
        if name == limiter do
          send(test, {
            :seen,
            RateLimiter.health_check(name),
            RateLimiter.check_and_track(limiter, "ann", :day),
            RateLimiter.check_and_track(limiter, "ann"),
            RateLimiter.allow?(limiter, "ann", :day),
            RateLimiter.check_batch(limiter, [{"ann", 1}, {"bob", 1}], :day),
            RateLimiter.get_usage(limiter, "ann", :day),
            RateLimiter.reset(limiter, "ann")
          })
        end
      end

      :telemetry.attach({context.test, :seen}, [:rate_limiter, :shutdown], handle, nil)
      on_exit(fn -> :telemetry.detach({context.test, :seen}) end)
      options = [name: limiter, limiters: context.limiters, shutdown: [admit: false]]
      start_supervised!({RateLimiter, options})
      {:ok, _} = RateLimiter.check_and_track(limiter, "ann", :day, cost: 9)
      assert RateLimiter.health_check(limiter) == :ok
      :ok = stop_supervised(limiter)

      assert_received {:seen, health, one, all, allowed?, batch, usage, reset}
      assert health == {:error, :stopping}
      assert {:error, :unavailable, %{window: :day, max: 100, retry_after_ms: 1_000}} = one
      assert {:error, :unavailable, %{windows: %{day: _}}} = all
      refute allowed?
      assert [{:error, :unavailable, %{cost: 1}}, {:error, :unavailable, %{cost: 1}}] = batch
      # What takes nothing is answered as ever.
      assert {:ok, %{current: 9}} = usage
      assert reset == :ok
      assert RateLimiter.health_check(limiter) == {:error, :not_running}

      # The next instance of that name admits.
      start_supervised!({RateLimiter, options})
      assert {:ok, %{remaining: 99}} = RateLimiter.check_and_track(limiter, "ann", :day)
    end
  end

  describe "stopping?/1" do
    test "is false for a running instance, and true for one that has ended", context do
      start_supervised!({RateLimiter, name: context.name, limiters: context.limiters})
      instance = Registry.instance(context.name)
      refute Shutdown.stopping?(instance)
      :ok = stop_supervised(context.name)
      assert Shutdown.stopping?(instance)
    end
  end

  describe "the options" do
    test "are validated with their path" do
      for {options, message} <- [
            {[admit: 1], "shutdown.admit: expected true or false, got: 1"},
            {[within: -1],
             "shutdown.within: expected an integer from 1 to 283824000000 or 0, got: -1"},
            {[witin: 1], "shutdown: unknown option :witin, did you mean :within?"}
          ] do
        error = assert_raise ArgumentError, fn -> Config.new!(shutdown: options) end
        assert error.message == message
      end
    end
  end

  # The nodes that have not signed off.
  defp nodes(server), do: Redis.command!(server, ["ZCARD", "shutdown:{nodes}"])
end
