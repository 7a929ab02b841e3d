defmodule RateLimiter.Telemetry.RedisTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Events, only: [listen: 1]

  alias RateLimiter.Telemetry

  @names [
    [:rate_limiter, :redis, :command],
    [:rate_limiter, :redis, :connection],
    [:rate_limiter, :redis, :eviction],
    [:rate_limiter, :circuit_breaker, :opened],
    [:rate_limiter, :circuit_breaker, :half_open],
    [:rate_limiter, :circuit_breaker, :closed]
  ]

  defp emitted(event) do
    :ok = Telemetry.Redis.emit(:shop, event)
    assert_received {:event, name, measurements, metadata}
    assert metadata.instance == :shop
    {name, measurements, Map.delete(metadata, :instance)}
  end

  setup do: listen(@names)

  test "a batch has its calls and its duration, and the reason of its failure" do
    assert emitted({:batch, "db:6379", 7, 250, nil, 2}) ==
             {[:rate_limiter, :redis, :command], %{calls: 7, duration_us: 250, missed: 2},
              %{server: "db:6379", result: :ok, reason: nil}}

    assert {_, _, %{result: :error, reason: "timeout"}} =
             emitted({:batch, "db:6379", 7, 250, "timeout", 0})
  end

  test "a connection has what changed, and why" do
    for change <- [:up, :down, :failed] do
      assert emitted({:connection, "db:6379", change, "closed"}) ==
               {[:rate_limiter, :redis, :connection], %{count: 1},
                %{server: "db:6379", change: change, reason: "closed"}}
    end
  end

  test "an eviction policy says what was expected and what mends it" do
    assert {[:rate_limiter, :redis, :eviction], %{maxmemory: 9}, metadata} =
             emitted({:eviction, "db:6379", "allkeys-lru", 9})

    assert %{server: "db:6379", policy: "allkeys-lru", reason: reason} = metadata
    assert reason =~ "expected maxmemory-policy noeviction, got: allkeys-lru"
    assert reason =~ "Run CONFIG SET maxmemory-policy noeviction"
  end

  test "each state of a breaker has an event of its own, with the state before" do
    for state <- [:opened, :half_open, :closed] do
      assert emitted({:breaker, "db:6379", :before, state, "why"}) ==
               {[:rate_limiter, :circuit_breaker, state], %{count: 1},
                %{server: "db:6379", from: :before, reason: "why"}}
    end
  end
end
