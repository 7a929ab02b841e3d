defmodule RateLimiter.Sensors.Store do
  @moduledoc false
  # How much of what was asked of Redis it did not do: because it was away, was late, or refused.
  #
  # It moves no gate: where calls are counted follows from it, and never how much is allowed.

  @behaviour RateLimiter.Health

  alias RateLimiter.{Instance, Redis}
  alias RateLimiter.Instance.Registry

  @impl true
  def init(options), do: {options[:instance], nil, 0.0}

  @impl true
  def measure({instance, before, last}) do
    with %Instance{store: {:redis, store}} <- Registry.instance(instance),
         %{} = status <- Redis.Client.status(store) do
      lost = lost(status, before, last)
      {:ok, max(shut(status), lost), {instance, status, lost}}
    else
      _gone -> {:no_opinion, "the instance has ended", {instance, nil, 0.0}}
    end
  end

  # A breaker that is open lets nobody ask.
  defp shut(%{servers: []}), do: 1.0

  defp shut(%{servers: servers}) do
    away = Enum.count(servers, &(&1.breaker != :closed or &1.connections == 0))
    away / length(servers)
  end

  defp lost(_status, nil, _last), do: 0.0

  # Where nothing was asked, it is as it was.
  defp lost(status, before, last) do
    since = fn key -> Map.fetch!(status, key) - Map.fetch!(before, key) end
    lost = since.(:timeouts) + since.(:refused) + since.(:unsent)

    cond do
      lost > 0 -> min(lost / max(since.(:calls), lost), 1.0)
      since.(:calls) > 0 -> 0.0
      true -> last
    end
  end
end
