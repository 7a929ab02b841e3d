defmodule RateLimiter.OpenTelemetryTest do
  # Not async: the handler sees the calls of all tests.
  use ExUnit.Case

  import RateLimiter.Support.Eventually
  alias RateLimiter.OpenTelemetry
  alias RateLimiter.Support.OpenTelemetry, as: Recorded

  describe "attach/0" do
    setup do
      Recorded.start()
      windows = [w: [limit: 10, per: :hour]]

      RateLimiter.Test.start(
        limiters: [traced: [windows: windows, threshold: 0.8, events: :none]]
      )

      :ok = OpenTelemetry.attach()
      on_exit(&OpenTelemetry.detach/0)
    end

    defp call(cost), do: RateLimiter.check_and_track(:traced, "ann", :w, cost: cost)

    test "a denied call is an event of the caller's span, and reveals no id" do
      assert Recorded.events(fn -> {:ok, _} = call(7) end) == []
      denied = fn -> send(self(), {:answer, call(4)}) end
      assert [{"rate_limiter.denied", attributes}] = Recorded.events(denied)
      assert_received {:answer, {:error, :rate_limited, usage}}

      assert attributes == %{
               "rate_limiter.limiter" => "traced",
               "rate_limiter.window" => "w",
               "rate_limiter.source" => "local",
               "rate_limiter.cost" => 4,
               "rate_limiter.max" => 10,
               "rate_limiter.current" => 7,
               "rate_limiter.retry_after_ms" => usage.retry_after_ms
             }
    end

    test "a call that can never be admitted has a number, too" do
      assert [{"rate_limiter.denied", attributes}] = Recorded.events(fn -> call(11) end)
      assert attributes["rate_limiter.retry_after_ms"] == -1
    end

    test "reaching the threshold is an event" do
      assert [{"rate_limiter.threshold", attributes}] = Recorded.events(fn -> call(8) end)
      assert attributes["rate_limiter.current"] == 8
    end

    test "without a recorded span, and after detach/0, nothing is added" do
      {:error, :rate_limited, _} = call(11)
      :ok = OpenTelemetry.detach()
      assert Recorded.events(fn -> {:error, :rate_limited, _} = call(11) end) == []
    end
  end

  describe "register_metrics/0" do
    setup context do
      limiter = :"otel #{context.test}"
      name = {__MODULE__, context.test}
      limiters = [{limiter, windows: [w: [limit: 2, per: :day]]}]
      start_supervised!({RateLimiter, name: name, limiters: limiters, vsm: true})
      on_exit(fn -> :telemetry.detach({OpenTelemetry, :"rate_limiter.store_duration"}) end)
      [name: name, limiter: limiter]
    end

    defp values(metrics, name, labels) do
      {_kind, _unit, points} = Map.fetch!(metrics, :"rate_limiter.#{name}")
      labels = Map.new(labels)
      for {value, own} <- points, Map.take(own, Map.keys(labels)) == labels, do: value
    end

    test "a reader collects the counts of the core, once, however often it is called", context do
      Recorded.start()
      for _ <- 1..2, do: :ok = OpenTelemetry.register_metrics()
      for _ <- 1..3, do: RateLimiter.check_and_track(context.limiter, "secret-id", :w)

      own = [limiter: "#{context.limiter}", window: "w", source: "local"]

      metrics =
        eventually(fn ->
          metrics = Recorded.collect()
          values(metrics, "checks", own ++ [result: "allowed"]) == [2] && metrics
        end)

      assert values(metrics, "checks", own ++ [result: "denied"]) == [1]
      assert values(metrics, "limit", limiter: "#{context.limiter}") == [2]
      assert values(metrics, "healthy", name: inspect(context.name)) == [1]
      assert [1.0] = values(metrics, "scale", name: inspect(context.name), subsystem: "s5")
      assert {:counter, :undefined, _} = metrics[:"rate_limiter.checks"]
      assert {:gauge, :By, _} = metrics[:"rate_limiter.memory"]
      assert {:gauge, :"1", _} = metrics[:"rate_limiter.scale"]
      refute inspect(metrics, limit: :infinity) =~ "secret"
    end

    test "the duration of a batch of calls to Redis is a histogram in seconds" do
      Recorded.start()
      :ok = OpenTelemetry.register_metrics()
      event = {:batch, "127.0.0.1:6379", 3, 1_500, nil, 0}
      for _ <- 1..2, do: RateLimiter.Telemetry.Redis.emit(:some, event)
      failed = {:batch, "127.0.0.1:6379", 3, 50_000, "timeout", 0}
      RateLimiter.Telemetry.Redis.emit(:some, failed)
      metrics = Recorded.collect()
      assert {:histogram, :s, _} = metrics[:"rate_limiter.store_duration"]
      labels = [server: "127.0.0.1:6379", name: ":some"]
      assert [{2, bounds}] = values(metrics, "store_duration", [result: "ok"] ++ labels)
      assert 0.05 in bounds
      assert [{1, ^bounds}] = values(metrics, "store_duration", [result: "error"] ++ labels)
    end

    test "without an SDK, nothing is recorded" do
      assert OpenTelemetry.register_metrics() == :ok
      handlers = :telemetry.list_handlers([:rate_limiter, :redis, :command])
      refute Enum.any?(handlers, &match?({OpenTelemetry, _}, &1.id))
    end
  end
end
