defmodule RateLimiter.Support.Redis.Heard do
  @moduledoc false
  # The events of one instance, whichever process emits them, sent to the test that listens.

  @events [
    [:rate_limiter, :redis, :command],
    [:rate_limiter, :redis, :connection],
    [:rate_limiter, :circuit_breaker, :opened],
    [:rate_limiter, :circuit_breaker, :half_open],
    [:rate_limiter, :circuit_breaker, :closed],
    [:rate_limiter, :fallback, :started],
    [:rate_limiter, :fallback, :stopped],
    [:rate_limiter, :stats]
  ]

  @doc "From now on the calling test gets `{:event, name, measurements, metadata}` of this instance."
  def listen(instance, events \\ @events) do
    test = self()
    id = {__MODULE__, test, instance}
    :ok = :telemetry.attach_many(id, events, &__MODULE__.forward/4, {test, instance})
    ExUnit.Callbacks.on_exit(fn -> :telemetry.detach(id) end)
  end

  @doc false
  def forward(name, measurements, %{instance: instance} = metadata, {test, instance}),
    do: send(test, {:event, name, measurements, metadata})

  def forward(_name, _measurements, _metadata, _listener), do: :ok
end
