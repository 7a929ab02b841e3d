defmodule RateLimiter.Top.Snapshot do
  @moduledoc false
  # What there is to see of a node at one moment: plain data, since it may come from another node.

  alias RateLimiter.{Health, Instance, VSM}
  alias RateLimiter.Core.Limit
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Terminal.LimitText

  @type t :: %{node: node, at_ms: integer, date: DateTime.t(), instances: [map]}

  @doc "Looks at this node."
  @spec take() :: t
  def take do
    %{
      node: node(),
      at_ms: System.monotonic_time(:millisecond),
      date: DateTime.utc_now(),
      instances: for(limiters <- Registry.instances(), about = seen(limiters), do: about)
    }
  end

  # One that ends while it is looked at is not there.
  defp seen(limiters) do
    instance(limiters)
  rescue
    ArgumentError -> nil
  end

  defp instance(limiters) do
    stats = Instance.Supervisor.stats(limiters)

    %{
      name: inspect(limiters.instance),
      health: Instance.Supervisor.health(limiters),
      store: stats.store,
      redis: stats[:redis],
      keys: stats.keys,
      memory: stats.memory,
      limiters:
        for(
          {name, about} <- Instance.Supervisor.describe(limiters),
          do: limiter(name, about, stats.limiters[name])
        ),
      subsystems: subsystems(limiters),
      sensors: sensors(limiters)
    }
  end

  defp limiter(name, about, stats) do
    windows =
      for {window, limit} <- about.windows,
          do: %{name: window, limit: rate(limit), max: limit.max}

    Map.merge(
      %{name: name, scale: about.scale, windows: windows},
      stats || %{checks: 0, denials: 0, keys: 0}
    )
  end

  defp subsystems(%{space: nil}), do: []

  defp subsystems(limiters) do
    metrics = VSM.subsystem_metrics(limiters.instance)

    for {subsystem, own} <- VSM.Tree.all(limiters.space) do
      metrics[subsystem.name]
      |> Map.put(:name, subsystem.name)
      |> Map.put(:limit, rate(own.limit))
      |> Map.update!(:binding, &inspect/1)
      |> Map.drop([:sources])
    end
  end

  defp sensors(%{space: nil}), do: %{}
  defp sensors(limiters), do: Health.report(limiters.instance)

  defp rate(limit),
    do: Limit |> struct!(Map.take(limit, [:algorithm, :limit, :per])) |> LimitText.rate_text()
end
