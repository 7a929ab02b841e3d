defmodule RateLimiter.Metrics.Families do
  @moduledoc false
  # The metrics of an instance: its counts and sizes under the names that operators know.
  #
  # The labels are names from the configuration, and never an id, so there are as many series as the operator has
  # configured.

  alias RateLimiter.{Instance, VSM}
  alias RateLimiter.Instance.Reporter
  alias RateLimiter.Metrics.Text
  alias RateLimiter.VSM.Explain

  @version Mix.Project.config()[:version]

  @doc "Reads an instance. Without samples where it stops meanwhile."
  @spec read(Instance.t()) :: [Text.family()]
  def read(%Instance{name: name} = instance) do
    labels = [name: inspect(name)]
    stats = Reporter.stats(instance)

    Enum.concat([
      about(labels, instance, stats),
      limiters(labels, instance, stats),
      servers(labels, stats),
      subsystems(labels, instance)
    ])
  rescue
    ArgumentError -> []
  end

  defp about(labels, instance, stats) do
    healthy = if Reporter.health(instance) == :ok, do: 1, else: 0
    build = [version: @version, store: "#{stats.store}"]

    [
      {:rate_limiter_build_info, :gauge, "The version and the store of an instance, always 1.",
       [{labels ++ build, 1}]},
      {:rate_limiter_healthy, :gauge, "Whether health_check/1 returns :ok.", [{labels, healthy}]}
    ]
  end

  ## Limiters

  defp limiters(labels, instance, stats) do
    limiters =
      for {limiter, counts} <- stats.limiters, do: {labels ++ [limiter: text(limiter)], counts}

    windows =
      for {labels, counts} <- limiters,
          {window, own} <- counts.windows,
          do: {labels ++ [window: text(window)], own}

    maxima =
      for {limiter, about} <- Reporter.limiters(instance),
          {window, limit} <- about.windows,
          do: {labels ++ [limiter: text(limiter), window: text(window)], limit.max}

    [
      {:rate_limiter_checks_total, :counter,
       "Decided calls. A call on several windows counts once, under the window that decided.",
       Enum.flat_map(windows, &checks/1)},
      {:rate_limiter_violations_total, :counter, "Denied calls.",
       Enum.flat_map(windows, &violations/1)},
      {:rate_limiter_near_limit_total, :counter,
       "Ids that reached the threshold of a window, once in its period.",
       for({labels, window} <- windows, do: {labels, window.thresholds})},
      {:rate_limiter_limit, :gauge, "The largest amount that can be taken at once now.", maxima},
      size(limiters, :rate_limiter_keys, :keys, "Ids in memory."),
      size(limiters, :rate_limiter_request_ids, :request_ids, "Ids of calls in memory."),
      size(limiters, :rate_limiter_memory_bytes, :memory, "Bytes of the ids in memory."),
      size(limiters, :rate_limiter_pending_calls, :pending, "Calls that wait for Redis."),
      size(
        limiters,
        :rate_limiter_owing_keys,
        :owing,
        "Ids with usage that Redis does not have yet."
      ),
      count(
        limiters,
        :rate_limiter_overflowed_total,
        :overflowed,
        "Calls of new ids that found no room."
      ),
      count(limiters, :rate_limiter_swept_total, :swept, "Expired ids that were removed."),
      count(
        limiters,
        :rate_limiter_cached_denials_total,
        :cached_denials,
        "Denials that were repeated from memory."
      ),
      {:rate_limiter_fallback_active, :gauge, "Whether this node decides without Redis.",
       for({labels, %{away?: away?}} <- limiters, do: {labels, if(away?, do: 1, else: 0)})},
      {:rate_limiter_fallback_usage_total, :counter,
       "Calls that this node decided without Redis.",
       for(
         {labels, %{sources: %{fallback: alone}}} <- windows,
         do: {labels, alone.allowed + alone.denied}
       )}
    ]
  end

  defp checks({labels, window}) do
    decided =
      for {source, decisions} <- window.sources,
          {result, calls} <- decisions,
          do: {labels ++ [source: text(source), result: text(result)], calls}

    # Without an answer of Redis, it is this node that says so.
    if Map.has_key?(window.sources, :fallback),
      do: [{labels ++ [source: "fallback", result: "unavailable"], window.unavailable} | decided],
      else: decided
  end

  defp violations({labels, window}) do
    for {source, %{denied: denied}} <- window.sources,
        do: {labels ++ [source: text(source)], denied}
  end

  defp size(limiters, name, key, help), do: {name, :gauge, help, values(limiters, key)}
  defp count(limiters, name, key, help), do: {name, :counter, help, values(limiters, key)}
  defp values(all, key), do: for({labels, %{^key => value}} <- all, do: {labels, value})

  ## Redis

  defp servers(labels, %{redis: %{servers: servers} = redis}) do
    servers = for server <- servers, do: {labels ++ [server: server.server], server}

    [
      {:rate_limiter_nodes, :gauge, "Nodes that share the limits.", [{labels, redis.nodes}]},
      {:rate_limiter_store_up, :gauge, "Whether calls go to the server.",
       for({labels, server} <- servers, do: {labels, up(server)})},
      {:rate_limiter_store_duration_seconds, :histogram,
       "How long calls waited for the reply of the server, or for its failure.",
       Enum.flat_map(servers, fn {labels, server} ->
         [
           {labels ++ [result: "ok"], server.answered},
           {labels ++ [result: "error"], server.failed}
         ]
       end)},
      {:rate_limiter_breaker_trips_total, :counter,
       "Times that the breaker of the server opened.",
       for({labels, server} <- servers, do: {labels, server.opened})}
    ]
  end

  defp servers(_labels, _local), do: []

  defp up(%{breaker: :closed, connections: connections}) when connections > 0, do: 1
  defp up(_server), do: 0

  ## Subsystems

  defp subsystems(_labels, %Instance{subsystems: nil}), do: []

  defp subsystems(labels, %Instance{subsystems: table, name: name}) do
    subsystems =
      for {subsystem, metrics} <- VSM.subsystem_metrics(name),
          do: {labels ++ [subsystem: text(subsystem)], metrics}

    [
      {:rate_limiter_subsystem_checks_total, :counter, "Calls on a subsystem, by what decided.",
       Enum.flat_map(subsystems, &subsystem_checks/1)},
      {:rate_limiter_scale_ratio, :gauge, "The factor of the limits of a subsystem.",
       values(subsystems, :scale)},
      {:rate_limiter_stress_ratio, :gauge,
       "The stress of a subsystem at the last step of its law.",
       for({labels, %{stress: stress}} <- subsystems, stress, do: {labels, stress})},
      {:rate_limiter_in_flight_calls, :gauge, "Calls of a subsystem at work.",
       values(subsystems, :in_flight)},
      {:rate_limiter_gate_open_ratio, :gauge,
       "The share of calls that the gate of this node admits.", values(subsystems, :open)},
      {:rate_limiter_adaptations_total, :counter,
       "Changes of a scale, and changes that were held back.",
       for {subsystem, action, times} <- Explain.counts(table) do
         {labels ++ [subsystem: text(subsystem), action: text(action)], times}
       end}
    ]
  end

  defp subsystem_checks({labels, metrics}) do
    %{asked: asked, denied: denied, guarded: guarded, shed: shed} = metrics
    label = &(labels ++ [window: &1, result: &2])

    [
      {label.("rate", "allowed"), asked - denied - guarded - shed},
      {label.("rate", "denied"), denied},
      {label.("in_flight", "denied"), guarded},
      {label.("gate", "denied"), shed}
    ]
  end

  # The entries about the gate of the node have no subsystem, and an empty label is none.
  defp text(nil), do: ""
  defp text(name), do: Atom.to_string(name)
end
