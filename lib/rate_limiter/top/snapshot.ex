defmodule RateLimiter.Top.Snapshot do
  @moduledoc false
  # A reading of all instances of a node at one moment. Plain data, since it may come from another node.

  alias RateLimiter.{Health, Instance, VSM}
  alias RateLimiter.Core.{Limit, LimitText}
  alias RateLimiter.Instance.{Registry, Reporter}
  alias RateLimiter.Store.Callers

  # The most of each kind.
  @callers 5

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

  # An instance may stop while it is read, or lose a limiter; it is left out.
  defp read(instance) do
    instance(instance)
  rescue
    _error in [ArgumentError, MatchError] -> nil
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
          {handle, _config} = Instance.fetch(instance, name),
          do: limiter({name, handle}, about, stats.limiters[name])
        ),
      subsystems: subsystems(instance),
      sensors: sensors(instance)
    }
  end

  defp limiter({name, handle}, about, stats) do
    windows = for {window, limit} <- about.windows, do: window(handle, {window, limit}, stats)

    (stats || %{checks: 0, denials: 0, keys: 0})
    |> Map.merge(%{name: name, scale: about.scale, windows: windows})
  end

  defp window(handle, {name, limit}, stats) do
    counts = stats[:windows][name] || %{allowed: 0, denied: 0, would_deny: 0}

    %{
      name: name,
      limit: rate(limit) <> if(limit[:enforce] == false, do: " in shadow mode", else: ""),
      max: limit.max,
      checks: counts.allowed + counts.denied,
      denials: counts.denied,
      would_deny: counts.would_deny,
      callers: callers(handle, name)
    }
  end

  # The most denied, then those that call most; `:off` if the limiter does not count them.
  defp callers(handle, window) do
    with denied when is_list(denied) <- Callers.most(handle, window, :denied, @callers),
         calls when is_list(calls) <- Callers.most(handle, window, :calls, @callers),
         do: (denied ++ calls) |> Enum.uniq_by(& &1.id) |> Enum.map(&%{&1 | id: shown(&1.id)})
  end

  defp shown(id) when is_binary(id), do: id
  defp shown(id), do: inspect(id)

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
