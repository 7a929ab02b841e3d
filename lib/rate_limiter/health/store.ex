defmodule RateLimiter.Health.Store do
  @moduledoc false
  # How much of what was asked of Redis it did not do: because it was away, was late, or refused.
  #
  # It moves no gate: where calls are counted follows from it, and never how much is allowed.

  @behaviour RateLimiter.Health

  alias RateLimiter.Instance.Limiters
  alias RateLimiter.{Redis, Registry}

  @impl true
  def init(options), do: {options[:instance], nil}

  @impl true
  def measure({instance, before}) do
    with %Limiters{store: {:redis, store}} <- Registry.instance(instance),
         %{} = status <- Redis.Engine.status(store) do
      {:ok, missed(status, before), {instance, status}}
    else
      _gone -> {:no_opinion, "the instance has ended", {instance, nil}}
    end
  end

  # A breaker that is open lets nobody ask.
  defp missed(%{servers: servers} = status, before) do
    away = Enum.count(servers, &(&1.breaker != :closed or &1.connections == 0))
    shut = if servers == [], do: 1.0, else: away / length(servers)
    max(shut, lost(status, before))
  end

  defp lost(_status, nil), do: 0.0

  defp lost(status, before) do
    since = fn key -> Map.fetch!(status, key) - Map.fetch!(before, key) end
    lost = since.(:timeouts) + since.(:refused) + since.(:unsent)
    if lost > 0, do: min(lost / max(since.(:calls), lost), 1.0), else: 0.0
  end
end
