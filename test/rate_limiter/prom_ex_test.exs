defmodule RateLimiter.PromExTest do
  use ExUnit.Case, async: true

  test "the plugin has the definitions as one group of event metrics" do
    group = RateLimiter.PromEx.event_metrics([])
    assert group.group_name == :rate_limiter_event_metrics
    names = &Enum.map(&1, fn metric -> {metric.name, metric.event_name} end)
    assert names.(group.metrics) == names.(RateLimiter.Metrics.definitions())
  end
end
