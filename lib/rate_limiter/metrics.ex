defmodule RateLimiter.Metrics do
  @moduledoc """
  Metrics for Prometheus, and definitions for reporters of [telemetry_metrics](https://hexdocs.pm/telemetry_metrics).

  The core counts calls anyway, so a call costs the same with and without metrics: nothing is attached to it, and the
  numbers are read when they are asked for. No label has an id, so the number of series depends on the configuration alone.

  Each instance has its name in the label `name`.

  | metric | labels | |
  | --- | --- | --- |
  | `rate_limiter_checks_total` | `limiter`, `window`, `source`, `result` | calls; `result` is `allowed`, `denied` or `unavailable` |
  | `rate_limiter_violations_total` | `limiter`, `window`, `source` | denied calls |
  | `rate_limiter_near_limit_total` | `limiter`, `window` | ids that reached the `:threshold` of a limiter |
  | `rate_limiter_shadow_denials_total` | `limiter`, `window` | admitted calls that a window in shadow mode would have denied |
  | `rate_limiter_limit` | `limiter`, `window` | the largest amount that can be taken at once now |
  | `rate_limiter_keys`, `rate_limiter_request_ids` | `limiter` | ids in memory, and ids of calls |
  | `rate_limiter_memory_bytes` | `limiter` | bytes of both |
  | `rate_limiter_overflowed_total`, `rate_limiter_swept_total` | `limiter` | calls of new ids without room, expired ids |
  | `rate_limiter_healthy` | | 1 if `RateLimiter.health_check/1` returns `:ok`, else 0 |
  | `rate_limiter_build_info` | `version`, `store` | always 1 |

  With Redis:

  | metric | labels | |
  | --- | --- | --- |
  | `rate_limiter_store_duration_seconds` | `server`, `result` | histogram: how long calls waited; `result` is `ok` or `error` |
  | `rate_limiter_store_up` | `server` | 1 if calls go there, else 0 |
  | `rate_limiter_breaker_trips_total` | `server` | times that the breaker opened |
  | `rate_limiter_fallback_active` | `limiter` | 1 while this node decides without Redis |
  | `rate_limiter_fallback_usage_total` | `limiter`, `window` | calls that this node decided without Redis |
  | `rate_limiter_cached_denials_total` | `limiter` | denials that were repeated from memory |
  | `rate_limiter_pending_calls`, `rate_limiter_owing_keys` | `limiter` | calls in flight; ids with usage that Redis lacks |
  | `rate_limiter_nodes` | | nodes that share the limits |

  With subsystems:

  | metric | labels | |
  | --- | --- | --- |
  | `rate_limiter_subsystem_checks_total` | `subsystem`, `window`, `result` | calls; `window` is `rate`, `in_flight` or `gate` |
  | `rate_limiter_scale_ratio`, `rate_limiter_stress_ratio` | `subsystem` | the factor of the limits, and the stress |
  | `rate_limiter_in_flight_calls`, `rate_limiter_gate_open_ratio` | `subsystem` | calls at work, and the share of calls that the gate of this node admits |
  | `rate_limiter_adaptations_total` | `subsystem`, `action` | changes of a scale; without a subsystem of the gate |

  Where Plug is a dependency of the application, this module is a plug that serves them, in a router of Plug or Phoenix:

      forward "/metrics", RateLimiter.Metrics

  It takes no options. The names of limiters are not for strangers, so put it behind what keeps them out.
  [Telemetry](telemetry.md#prometheus-and-grafana) has a dashboard and alerts.
  """

  alias RateLimiter.Instance.Registry
  alias RateLimiter.Metrics.{Families, Text}

  @doc """
  Returns the metrics of all instances on this node in the text format of Prometheus, version 0.0.4.

      iex> RateLimiter.check_and_track(:login, "ann", :attempts)
      iex> text = IO.iodata_to_binary(RateLimiter.Metrics.prometheus())
      iex> text =~ ~r/rate_limiter_checks_total{.*limiter="login",window="attempts",source="local",result="allowed"} 1/
      true
  """
  @spec prometheus() :: iodata
  def prometheus, do: encode(Registry.instances())

  @doc """
  As `prometheus/0`, of one instance.

  Raises `ArgumentError` if the instance is not running.
  """
  @spec prometheus(instance :: term) :: iodata
  def prometheus(instance), do: encode([Registry.fetch!(instance)])

  defp encode(instances), do: instances |> Enum.flat_map(&Families.read/1) |> Text.encode()

  if match?({:module, _}, Code.ensure_compiled(Plug.Conn)) do
    @behaviour Plug

    @content_type "text/plain; version=0.0.4; charset=utf-8"

    @doc "Takes no options. This function exists where Plug is a dependency of the application."
    @impl true
    @spec init([]) :: []
    def init([]), do: []

    @doc "Sends `prometheus/0`. Exists where Plug is a dependency of the application."
    @impl true
    @spec call(Plug.Conn.t(), []) :: Plug.Conn.t()
    def call(conn, []) do
      conn
      |> Plug.Conn.put_resp_header("content-type", @content_type)
      |> Plug.Conn.send_resp(200, prometheus())
    end
  end

  if match?({:module, _}, Code.ensure_compiled(Telemetry.Metrics)) do
    @doc """
    Returns the metrics as definitions for a reporter of `Telemetry.Metrics`.

        {TelemetryMetricsStatsd, metrics: RateLimiter.Metrics.definitions()}

    They are `rate_limiter.checks.total`, `rate_limiter.violations.total`, `rate_limiter.near_limit.total`,
    `rate_limiter.shadow_denials.total`, `rate_limiter.fallback.usage`, `rate_limiter.keys`, `rate_limiter.memory.bytes`,
    `rate_limiter.overflowed.total`, `redis.command.duration`, `circuit_breaker.trips.total` and
    `vsm.rate_limiter.adaptations`. The first eight come from
    the events at each `:stats_interval`, so they cost a call nothing. This function exists where `:telemetry_metrics` is a
    dependency of the application.
    """
    @spec definitions() :: [Telemetry.Metrics.t()]
    def definitions do
      [
        window("rate_limiter.checks.total", :checks, "Decided calls"),
        window("rate_limiter.violations.total", :denied, "Denied calls"),
        window("rate_limiter.near_limit.total", :thresholds, "Ids that reached the threshold"),
        window(
          "rate_limiter.shadow_denials.total",
          :would_deny,
          "Calls that shadow mode admitted"
        ),
        window("rate_limiter.fallback.usage", :fallbacks, "Calls decided without Redis"),
        size("rate_limiter.keys", :keys, description: "Ids in memory"),
        size("rate_limiter.memory.bytes", :bytes, unit: :byte, description: "Bytes of ids"),
        Telemetry.Metrics.sum("rate_limiter.overflowed.total",
          event_name: [:rate_limiter, :memory],
          # Limiters in Redis are never full.
          measurement: &Map.get(&1, :overflowed, 0),
          tags: [:limiter],
          description: "Calls of new ids that found no room"
        ),
        Telemetry.Metrics.distribution("redis.command.duration",
          event_name: [:rate_limiter, :redis, :command],
          measurement: :duration_us,
          unit: {:microsecond, :second},
          tags: [:server, :result],
          # An alias would be unused where this is not compiled.
          reporter_options: [buckets: RateLimiter.Metrics.Instrument.buckets()],
          description: "Batches of calls to Redis, from sending to the last answer"
        ),
        Telemetry.Metrics.counter("circuit_breaker.trips.total",
          event_name: [:rate_limiter, :circuit_breaker, :opened],
          measurement: :count,
          # A failed probe opens the breaker again, which does not count as another trip.
          keep: &(&1.from == :closed),
          tags: [:server],
          description: "Times that the breaker of a Redis server opened"
        ),
        Telemetry.Metrics.counter("vsm.rate_limiter.adaptations",
          event_name: [:rate_limiter, :vsm, :adaptation],
          measurement: :to,
          tags: [:subsystem, :action],
          description: "Changes of scales, and changes that were held back"
        )
      ]
    end

    defp window(name, measurement, description) do
      Telemetry.Metrics.sum(name,
        event_name: [:rate_limiter, :stats],
        measurement: measurement,
        tags: [:limiter, :window],
        description: description
      )
    end

    defp size(name, measurement, options) do
      event = [event_name: [:rate_limiter, :memory], measurement: measurement, tags: [:limiter]]
      Telemetry.Metrics.last_value(name, event ++ options)
    end
  end
end
