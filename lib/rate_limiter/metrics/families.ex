defmodule RateLimiter.Metrics.Families do
  @moduledoc false
  # The metrics of an instance: its counts and sizes under the names that operators know.
  #
  # The labels are names from the configuration, and never an id, so there are as many series as the operator has
  # configured.

  alias RateLimiter.{Instance, VSM}
  alias RateLimiter.Instance.Reporter
  alias RateLimiter.Metrics.Text
  alias RateLimiter.Redis.Client
  alias RateLimiter.VSM.Explain

  @version Mix.Project.config()[:version]

  @families [
    rate_limiter_build_info: {:gauge, "The version and the store of an instance, always 1."},
    rate_limiter_healthy: {:gauge, "Whether health_check/1 returns :ok."},
    rate_limiter_checks_total:
      {:counter,
       "Decided calls. A call on several windows counts once, under the window that decided."},
    rate_limiter_violations_total: {:counter, "Denied calls."},
    rate_limiter_near_limit_total:
      {:counter, "Ids that reached the threshold of a window, once in its period."},
    rate_limiter_shadow_denials_total:
      {:counter, "Admitted calls that a window in shadow mode would have denied."},
    rate_limiter_limit: {:gauge, "The largest amount that can be taken at once now."},
    rate_limiter_keys: {:gauge, "Ids in memory."},
    rate_limiter_request_ids: {:gauge, "Ids of calls in memory."},
    rate_limiter_memory_bytes: {:gauge, "Bytes of the ids in memory."},
    rate_limiter_pending_calls: {:gauge, "Calls that wait for Redis."},
    rate_limiter_owing_keys: {:gauge, "Ids with usage that Redis does not have yet."},
    rate_limiter_overflowed_total: {:counter, "Calls of new ids that found no room."},
    rate_limiter_swept_total: {:counter, "Expired ids that were removed."},
    rate_limiter_cached_denials_total: {:counter, "Denials that were repeated from memory."},
    rate_limiter_fallback_active: {:gauge, "Whether this node decides without Redis."},
    rate_limiter_fallback_usage_total: {:counter, "Calls that this node decided without Redis."},
    rate_limiter_nodes: {:gauge, "Nodes that share the limits."},
    rate_limiter_store_up: {:gauge, "Whether calls go to the server."},
    rate_limiter_store_duration_seconds:
      {:histogram, "How long calls waited for the reply of the server, or for its failure."},
    rate_limiter_breaker_trips_total: {:counter, "Times that the breaker of the server opened."},
    rate_limiter_subsystem_checks_total: {:counter, "Calls on a subsystem, by what decided."},
    rate_limiter_scale_ratio: {:gauge, "The factor of the limits of a subsystem."},
    rate_limiter_stress_ratio: {:gauge, "The stress of a subsystem at the last step of its law."},
    rate_limiter_in_flight_calls: {:gauge, "Calls of a subsystem at work."},
    rate_limiter_gate_open_ratio:
      {:gauge, "The share of calls that the gate of this node admits."},
    rate_limiter_adaptations_total:
      {:counter, "Changes of a scale, and changes that were held back."}
  ]

  @doc "Returns type and description of every metric by its name."
  @spec all() :: [{atom, {:counter | :gauge | :histogram, String.t()}}]
  def all, do: @families

  @doc "Reads an instance. Without samples where it stops meanwhile."
  @spec read(Instance.t()) :: [Text.family()]
  def read(%Instance{name: name} = instance) do
    labels = [name: inspect(name)]
    stats = Reporter.stats(instance)

    [
      about(labels, instance, stats),
      limiters(labels, instance, stats),
      servers(labels, stats),
      subsystems(labels, instance)
    ]
    |> Enum.concat()
    |> Enum.map(&family/1)
  rescue
    ArgumentError -> []
  end

  defp family({name, samples}) do
    {type, help} = @families[name]
    {name, type, help, samples}
  end

  defp about(labels, instance, stats) do
    healthy = if Reporter.health(instance) == :ok, do: 1, else: 0
    build = [version: @version, store: "#{stats.store}"]

    [
      rate_limiter_build_info: [{labels ++ build, 1}],
      rate_limiter_healthy: [{labels, healthy}]
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
      rate_limiter_checks_total: Enum.flat_map(windows, &checks/1),
      rate_limiter_violations_total: Enum.flat_map(windows, &violations/1),
      rate_limiter_near_limit_total: values(windows, :thresholds),
      rate_limiter_shadow_denials_total: values(windows, :would_deny),
      rate_limiter_limit: maxima,
      rate_limiter_keys: values(limiters, :keys),
      rate_limiter_request_ids: values(limiters, :request_ids),
      rate_limiter_memory_bytes: values(limiters, :memory),
      rate_limiter_pending_calls: values(limiters, :pending),
      rate_limiter_owing_keys: values(limiters, :owing),
      rate_limiter_overflowed_total: values(limiters, :overflowed),
      rate_limiter_swept_total: values(limiters, :swept),
      rate_limiter_cached_denials_total: values(limiters, :cached_denials),
      rate_limiter_fallback_active:
        for({labels, %{away?: away?}} <- limiters, do: {labels, if(away?, do: 1, else: 0)}),
      rate_limiter_fallback_usage_total:
        for(
          {labels, %{sources: %{fallback: alone}}} <- windows,
          do: {labels, alone.allowed + alone.denied}
        )
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

  defp values(all, key), do: for({labels, %{^key => value}} <- all, do: {labels, value})

  ## Redis

  defp servers(labels, %{redis: %{servers: servers} = redis}) do
    servers = for server <- servers, do: {labels ++ [server: server.server], server}

    durations =
      for {labels, server} <- servers,
          {result, durations} <- [ok: server.answered, error: server.failed],
          do: {labels ++ [result: text(result)], durations}

    [
      rate_limiter_nodes: [{labels, redis.nodes}],
      rate_limiter_store_up:
        for({labels, server} <- servers, do: {labels, if(Client.up?(server), do: 1, else: 0)}),
      rate_limiter_store_duration_seconds: durations,
      rate_limiter_breaker_trips_total: values(servers, :opened)
    ]
  end

  defp servers(_labels, _local), do: []

  ## Subsystems

  defp subsystems(_labels, %Instance{subsystems: nil}), do: []

  defp subsystems(labels, %Instance{subsystems: table, name: name}) do
    subsystems =
      for {subsystem, metrics} <- VSM.subsystem_metrics(name),
          do: {labels ++ [subsystem: text(subsystem)], metrics}

    adaptations =
      for {subsystem, action, times} <- Explain.counts(table),
          do: {labels ++ [subsystem: text(subsystem), action: text(action)], times}

    [
      rate_limiter_subsystem_checks_total: Enum.flat_map(subsystems, &subsystem_checks/1),
      rate_limiter_scale_ratio: values(subsystems, :scale),
      rate_limiter_stress_ratio:
        for({labels, %{stress: stress}} <- subsystems, stress, do: {labels, stress}),
      rate_limiter_in_flight_calls: values(subsystems, :in_flight),
      rate_limiter_gate_open_ratio: values(subsystems, :open),
      rate_limiter_adaptations_total: adaptations
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

  # Entries about the gate of the node have no subsystem. For Prometheus, an empty label equals a missing one.
  defp text(nil), do: ""
  defp text(name), do: Atom.to_string(name)
end
