defmodule RateLimiter.Sensors.Store do
  @moduledoc false
  # The share of requests that Redis did not answer, because it was unavailable, late, or refused.
  #
  # It does not change the gate: an outage decides where calls are counted, and never how much is allowed.

  @behaviour RateLimiter.Health

  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.Client

  @impl true
  def init(options), do: {options[:instance], nil, 0.0}

  @impl true
  def measure({instance, before, last}) do
    with %{store: {:redis, store}} <- Registry.instance(instance),
         %{} = status <- Client.status(store) do
      lost = lost(status, before, last)
      {:ok, max(unavailable(status), lost), {instance, status, lost}}
    else
      _stopped -> {:no_opinion, "the instance has stopped", {instance, nil, 0.0}}
    end
  end

  # The share of servers without a closed breaker or without any connection.
  defp unavailable(%{servers: []}), do: 1.0

  defp unavailable(%{servers: servers}) do
    count = Enum.count(servers, &(&1.breaker != :closed or &1.connections == 0))
    count / length(servers)
  end

  defp lost(_status, nil, _last), do: 0.0

  defp lost(status, before, last) do
    since = fn key -> Map.fetch!(status, key) - Map.fetch!(before, key) end
    lost = since.(:timeouts) + since.(:refused) + since.(:unsent)

    cond do
      lost > 0 -> min(lost / max(since.(:calls), lost), 1.0)
      since.(:calls) > 0 -> 0.0
      # Without calls in the interval, the last reading stays valid.
      true -> last
    end
  end
end
