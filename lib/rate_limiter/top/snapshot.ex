defmodule RateLimiter.Top.Snapshot do
  @moduledoc false
  # A reading of all instances of a node at one moment. Plain data, since it may come from another node.

  alias RateLimiter.{Health, Instance, VSM}
  alias RateLimiter.Core.{Limit, LimitText}
  alias RateLimiter.Instance.{Registry, Reporter}

  @type t :: %{node: node, at_ms: integer, date: DateTime.t(), instances: [map]}

  @doc "Reads this node."
  @spec take() :: t
  def take do
    %{
      node: node(),
      at_ms: System.monotonic_time(:millisecond),
      date: DateTime.utc_now(),
      instances: for(instance <- Registry.instances(), read = read(instance), do: read)
    }
  end

  # An instance may stop while it is read; it is left out.
  defp read(instance) do
    instance(instance)
  rescue
    ArgumentError -> nil
  end

  defp instance(%Instance{name: name} = instance) do
    stats = Reporter.stats(instance)

    %{
      name: inspect(name),
      health: Reporter.health(instance),
      store: stats.store,
      redis: stats[:redis],
      keys: stats.keys,
      memory: stats.memory,
      limiters:
        for(
          {name, about} <- Reporter.limiters(instance),
          do: limiter(name, about, stats.limiters[name])
        ),
      subsystems: subsystems(instance),
      sensors: sensors(instance)
    }
  end

  defp limiter(name, about, stats) do
    windows =
      for {window, limit} <- about.windows,
          do: %{name: window, limit: rate(limit), max: limit.max}

    (stats || %{checks: 0, denials: 0, keys: 0})
    |> Map.merge(%{name: name, scale: about.scale, windows: windows})
  end

  defp subsystems(%{subsystems: nil}), do: []

  defp subsystems(instance) do
    metrics = VSM.subsystem_metrics(instance.name)

    for {subsystem, own} <- VSM.Tree.all(instance.subsystems) do
      metrics[subsystem.name]
      |> Map.put(:name, subsystem.name)
      |> Map.put(:limit, rate(own.limit))
      |> Map.update!(:binding, &inspect/1)
      |> Map.drop([:sources])
    end
  end

  defp sensors(%{subsystems: nil}), do: %{}
  defp sensors(instance), do: Health.report(instance.name)

  defp rate(limit),
    do: Limit |> struct!(Map.take(limit, [:algorithm, :limit, :per])) |> LimitText.rate_text()
end
