defmodule RateLimiter.Dashboard.Data do
  @moduledoc false
  # A view as JSON, for programs.

  alias RateLimiter.Dashboard.History
  alias RateLimiter.Core.Json
  alias RateLimiter.Terminal.Text
  alias RateLimiter.Top.Figures

  @doc "Returns a view as a JSON object, or the reason why the node could not be read."
  @spec render({:ok, History.view()} | {:error, String.t()}) :: iodata
  def render({:error, problem}), do: Json.encode(problem: text(problem))

  def render({:ok, view}) do
    Json.encode(
      node: text(view.node),
      at: DateTime.to_iso8601(view.date),
      problem: view.problem && text(view.problem),
      instances: Enum.map(view.instances, &instance(&1, view.ages))
    )
  end

  defp instance(instance, ages) do
    [
      name: text(instance.name),
      health: health(instance.health),
      store: text(instance.store),
      ids: instance.keys,
      memory: instance.memory,
      calls_per_second: rate(instance.rates, :calls),
      denied_per_second: rate(instance.rates, :denied),
      history: history(instance.history, ages),
      redis: instance.redis && redis(instance.redis),
      limiters: Enum.map(instance.limiters, &limiter(&1, ages)),
      limiters_left_out: instance.hidden,
      subsystems: Enum.map(instance.subsystems, &subsystem/1),
      sensors:
        for {name, sensor} <- Enum.sort(instance.sensors) do
          [name: text(name), value: sensor.value, stress: sensor.stress]
        end
    ]
  end

  defp limiter(limiter, ages) do
    [
      name: text(limiter.name),
      scale: limiter.scale,
      checks: limiter.checks,
      denials: limiter.denials,
      ids: limiter.keys,
      calls_per_second: rate(limiter.rates, :calls),
      denied_per_second: rate(limiter.rates, :denied),
      windows:
        for window <- limiter.windows do
          [
            name: text(window.name),
            limit: window.limit,
            max: window.max,
            checks: window.checks,
            denials: window.denials,
            calls_per_second: rate(window.rates, :calls),
            denied_per_second: rate(window.rates, :denied),
            would_deny_per_second: rate(window.rates, :would_deny),
            callers: callers(window.callers)
          ]
        end,
      history: history(limiter.history, ages)
    ]
  end

  # Null if the limiter does not count them.
  defp callers(:off), do: nil

  defp callers(callers),
    do: for(row <- callers, do: [id: text(row.id), calls: row.calls, denied: row.denied])

  defp subsystem(subsystem) do
    [
      name: text(subsystem.name),
      limit: subsystem.limit,
      scale: subsystem.scale,
      stress: subsystem.stress,
      binding: text(subsystem.binding),
      reasons: Enum.map(Figures.reasons(subsystem), &text/1),
      calls_per_second: rate(subsystem.rates, :calls),
      denied_per_second: rate(subsystem.rates, :denied),
      shed_per_second: rate(subsystem.rates, :shed),
      in_flight: subsystem.in_flight,
      guard: if(subsystem.guard != :infinity, do: subsystem.guard),
      open: subsystem.open,
      dry_run: subsystem.dry_run
    ]
  end

  defp redis(redis) do
    [
      nodes: redis.nodes,
      problem: redis.problem && text(redis.problem),
      servers:
        for server <- redis.servers do
          [
            server: text(server.server),
            breaker: text(server.breaker),
            connections: server.connections,
            pending: server.pending,
            round_trip_us: server.round_trip_us,
            problem: server.problem && text(server.problem)
          ]
        end
    ]
  end

  # Each point has the seconds since its end.
  defp history(points, ages) do
    for {{admitted, denied}, age} <- Enum.zip(points, ages),
        do: [seconds_ago: age, admitted_per_second: admitted, denied_per_second: denied]
  end

  defp rate(nil, _key), do: nil
  defp rate(rates, key), do: rates[key]

  defp health(:ok), do: "ok"
  defp health(other), do: other |> inspect() |> text()

  defp text(name), do: name |> to_string() |> Text.visible()
end
