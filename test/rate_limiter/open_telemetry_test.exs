defmodule RateLimiter.OpenTelemetryTest do
  # Not async: the handler sees the calls of all tests.
  use ExUnit.Case

  setup do
    windows = [w: [limit: 10, per: :hour]]
    RateLimiter.Test.start(limiters: [traced: [windows: windows, threshold: 0.8, events: :none]])
    :ok = RateLimiter.OpenTelemetry.attach()
    on_exit(&RateLimiter.OpenTelemetry.detach/0)
    :otel_tracer.set_current_span({:recorded_by, self()})
    :ok
  end

  test "a denied call is an event of the caller's span, and reveals no id" do
    {:ok, _} = RateLimiter.check_and_track(:traced, "ann", :w, cost: 7)
    refute_received {:span_event, _, _}
    {:error, :rate_limited, usage} = RateLimiter.check_and_track(:traced, "ann", :w, cost: 4)
    assert_received {:span_event, "rate_limiter.denied", attributes}

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
    {:error, :rate_limited, _} = RateLimiter.check_and_track(:traced, "ann", :w, cost: 11)
    assert_received {:span_event, _, %{"rate_limiter.retry_after_ms" => -1}}
  end

  test "reaching the threshold is an event" do
    {:ok, _} = RateLimiter.check_and_track(:traced, "ann", :w, cost: 8)
    assert_received {:span_event, "rate_limiter.threshold", %{"rate_limiter.current" => 8}}
  end

  test "without a recorded span, and after detach/0, nothing is added" do
    :otel_tracer.set_current_span(:undefined)
    {:error, :rate_limited, _} = RateLimiter.check_and_track(:traced, "ann", :w, cost: 11)
    :otel_tracer.set_current_span({:recorded_by, self()})
    :ok = RateLimiter.OpenTelemetry.detach()
    {:error, :rate_limited, _} = RateLimiter.check_and_track(:traced, "ann", :w, cost: 11)
    refute_received {:span_event, _, _}
  end
end
