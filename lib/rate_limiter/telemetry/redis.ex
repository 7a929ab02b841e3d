defmodule RateLimiter.Telemetry.Redis do
  @moduledoc false
  # The events of a Redis store.

  @command [:rate_limiter, :redis, :command]
  @connection [:rate_limiter, :redis, :connection]
  @eviction [:rate_limiter, :redis, :eviction]
  @heartbeat [:rate_limiter, :redis, :heartbeat]

  @doc "Emits an event of the native Redis client."
  @spec emit(term, RateLimiter.Core.Native.redis_event()) :: :ok
  def emit(instance, {:batch, server, calls, duration_us, failure, missed}) do
    result = if failure, do: :error, else: :ok
    measurements = %{calls: calls, duration_us: duration_us, missed: missed}
    metadata = %{instance: instance, server: server, result: result, reason: failure}
    :telemetry.execute(@command, measurements, metadata)
  end

  def emit(instance, {:connection, server, change, reason}) do
    metadata = %{instance: instance, server: server, change: change, reason: reason}
    :telemetry.execute(@connection, %{count: 1}, metadata)
  end

  def emit(instance, {:eviction, server, policy, maxmemory}) do
    reason =
      "expected maxmemory-policy noeviction, got: #{policy}. Evicted keys lose their usage. " <>
        "Run CONFIG SET maxmemory-policy noeviction, or use a separate Redis for limits"

    metadata = %{instance: instance, server: server, policy: policy, reason: reason}
    :telemetry.execute(@eviction, %{maxmemory: maxmemory}, metadata)
  end

  def emit(instance, {:heartbeat, reason}) do
    result = if reason, do: :error, else: :ok
    metadata = %{instance: instance, result: result, reason: reason}
    :telemetry.execute(@heartbeat, %{count: 1}, metadata)
  end

  def emit(instance, {:breaker, server, from, to, reason}) do
    metadata = %{instance: instance, server: server, from: from, reason: reason}
    :telemetry.execute([:rate_limiter, :circuit_breaker, to], %{count: 1}, metadata)
  end
end
