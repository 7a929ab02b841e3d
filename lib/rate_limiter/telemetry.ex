defmodule RateLimiter.Telemetry do
  @moduledoc """
  Telemetry events. Event names are stable.

  | event | emitted when |
  | --- | --- |
  | `[:rate_limiter, :check]` | a call was decided |
  | `[:rate_limiter, :violation]` | a call was denied |
  | `[:rate_limiter, :would_deny]` | a window in shadow mode would have denied a call |
  | `[:rate_limiter, :threshold]` | an id has used the share `:threshold` of a limit |
  | `[:rate_limiter, :stats]` | every `:stats_interval`, for each window |
  | `[:rate_limiter, :memory]` | every `:stats_interval`, for each limiter |
  | `[:rate_limiter, :limit, :changed]` | a limit was changed at run time |
  | `[:rate_limiter, :clock]` | UTC and the monotonic clock have parted |
  | `[:rate_limiter, :checkpoint, change]` | a checkpoint was `:saved` or `:restored`, a file was `:refused`, or one of these `:failed` |
  | `[:rate_limiter, :shutdown]` | an instance has done what it does before it stops |
  | `[:rate_limiter, :redis, :command]` | a batch of calls to Redis ended |
  | `[:rate_limiter, :redis, :connection]` | a connection to Redis was opened, lost or refused |
  | `[:rate_limiter, :redis, :eviction]` | a Redis server is configured to evict keys |
  | `[:rate_limiter, :redis, :heartbeat]` | Redis began or ceased to refuse the heartbeats of this node |
  | `[:rate_limiter, :circuit_breaker, state]` | the breaker of a Redis server, or of a store of your own, changed to `:opened`, `:half_open` or `:closed` |
  | `[:rate_limiter, :fallback, change]` | a limiter `:started` or `:stopped` to decide without Redis |
  | `[:rate_limiter, :vsm, :adaptation]` | a control law changed or held a scale |
  | `[:rate_limiter, :algedonic, kind]` | a source reported `:pain` or `:pleasure` |
  | `[:rate_limiter, :algedonic, :escalation]` | pain lasted, and was passed to the parent |
  | `[:rate_limiter, :algedonic, :bypass]` | a call was marked as an emergency |

  ## `[:rate_limiter, :check]`

  Emitted for each call of `RateLimiter.check_and_track/4` and each entry of `RateLimiter.check_batch/3`. The option
  `:events` of a limiter reduces this to `:denials` or `:none`, because an event costs more than a check.

  | measurement | unit | |
  | --- | --- | --- |
  | `:cost` | cost | the cost of the call |
  | `:remaining` | cost | what is left after it |
  | `:current` | cost | what is in use after it |

  Metadata:

    * `:limiter`
    * `:window` - of several windows the one that denied or has the least left
    * `:result` - `:allowed`, `:denied` or `:unavailable`
    * `:source`, `:scale` and `:would_deny` - as in `RateLimiter.Usage`

  Calls on a subsystem emit this event and `[:rate_limiter, :violation]`, too. There `:limiter` is the subsystem, and
  `:window` is `:rate`, or `:in_flight` or `:gate` if one of these denied the call.

  ## `[:rate_limiter, :violation]`

  Emitted for each denied call, independent of `:events`.

  | measurement | unit | |
  | --- | --- | --- |
  | `:cost` | cost | the cost of the call |
  | `:max` | cost | the maximum of the window |
  | `:current` | cost | what is in use |

  Metadata:

    * `:limiter`, `:window`, `:source` and `:scale` - as above
    * `:retry_after_ms` - milliseconds, or `:infinity`
    * `:id_hash` - distinguishes callers without revealing their ids. It is a keyed hash of the id, with a random
      secret of this node, so it cannot be found by trying all possible ids. It changes with a restart, and differs
      between nodes, unless `RateLimiter.Audit` is attached with a key.
    * `:network` - the network of an id that is an IP address, only while `RateLimiter.Audit` is attached with `ids: :networks`

  ## `[:rate_limiter, :would_deny]`

  Emitted for each admitted call and each window in shadow mode (`enforce: false`) that would have denied it, independent of
  `:events`. Measurements and metadata are those of `[:rate_limiter, :violation]`; `:retry_after_ms` is how long the call would
  have had to wait.

  ## `[:rate_limiter, :threshold]`

  Emitted when an admitted call takes the usage of an id from below the share `:threshold` of a window's maximum to it or
  above. Emitted once for each id in the period of the window, on each node; an id that falls below and rises again within
  the period is not reported again. Off unless the limiter has the option `:threshold`, and then independent of `:events`.

  Reported ids are kept until their period ends, and count towards `:max_keys` like request ids. Without room the event
  is not emitted, so a flood of new ids is not a flood of events.

  | measurement | unit | |
  | --- | --- | --- |
  | `:cost` | cost | the cost of the call |
  | `:max` | cost | the maximum of the window |
  | `:current` | cost | what is in use after the call |

  Metadata: `:limiter`, `:window`, `:source`, `:scale` and `:id_hash`, as above.

  ## `[:rate_limiter, :stats]`

  What a window has counted since the last of these events, and since the start for the first. Emitted every
  `:stats_interval` for each window of each limiter, so the sum of the events is a counter. A call on several windows counts
  once, under the window that denied it or has the least left, as in `[:rate_limiter, :check]`. Calls on subsystems are not
  included.

  | measurement | unit | |
  | --- | --- | --- |
  | `:checks` | calls | all decided calls |
  | `:allowed`, `:denied` | calls | by their result |
  | `:unavailable` | calls | without an answer, because Redis is away and the limiter has `on_outage: :deny` |
  | `:fallbacks` | calls | allowed or denied by this node alone during an outage of Redis |
  | `:thresholds` | calls | that emitted `[:rate_limiter, :threshold]` |
  | `:would_deny` | calls | admitted, and would have been denied by this window if it was enforced. They are among the allowed calls of the window that decided |

  Metadata:

    * `:instance` - the name of the instance
    * `:store` - `:local`, `:redis` or `:store`
    * `:limiter` and `:window`

  What a limiter counts after its last event and before it ends is not reported.

  ## `[:rate_limiter, :memory]`

  The size of a limiter, every `:stats_interval`.

  | measurement | unit | |
  | --- | --- | --- |
  | `:keys` | ids | in memory now |
  | `:request_ids` | ids of calls | in memory now, with the ids that `[:rate_limiter, :threshold]` reported |
  | `:bytes` | bytes | of both |
  | `:overflowed` | calls | since the last event, of new ids that shared the overflow bucket because `:max_keys` was reached |
  | `:swept` | ids | since the last event, expired and removed |

  With Redis without `:request_ids`, `:overflowed` and `:swept`, but with `:cached_denials` since the last event, and
  `:pending` and `:owing` now, as in `RateLimiter.Redis`.

  Metadata: `:instance`, `:store` and `:limiter`.

  ## `[:rate_limiter, :limit, :changed]`

  Emitted for each window whose limit was changed by `RateLimiter.update_limit/3`, `RateLimiter.Limits.apply/2` or the source of
  limits, after the whole change, in the process that changes the limiters of the instance.

  Measurements: `:count`, always 1. Metadata: `:instance`, `:limiter` and `:window`; `:from` and `:to`, maps with `:limit`, `:per_ms`,
  `:burst` (`nil` if it was not configured) and `:enforce`; `:by`, as in `RateLimiter.Limits.history/2`.

  ## `[:rate_limiter, :limits, :refused]`

  Emitted when the source of an instance's limits cannot be read, or states limits that are invalid or would deny too many ids;
  and when this node cannot have limits that were changed for all nodes. Nothing was changed. Emitted once for each content.

  Measurements: `:reasons`, their number. Metadata: `:instance`; `:source`, the path of the file, the name of the function or the
  key in Redis; `:reason`, the first ten of them in words, as of `RateLimiter.Limits.apply/2`.

  ## `[:rate_limiter, :limiter, :reset]`

  Emitted when `RateLimiter.reset/1` has reset a whole limiter, in the calling process, on its node only.

  Measurements: `:count`, always 1. Metadata: `:instance` and `:limiter`.

  ## `[:rate_limiter, :clock]`

  Emitted within about ten seconds when UTC has moved by more than two seconds against the clock of limits: the system's
  clock was set, or a snapshot was restored. Aligned windows follow within ten seconds more.

  | measurement | unit | |
  | --- | --- | --- |
  | `:moved_ms` | milliseconds | how far UTC has moved ahead, negative for backward |

  Metadata:

    * `:instance`
    * `:reason` - in words

  ## `[:rate_limiter, :checkpoint, :saved]`, `:restored`, `:refused` and `:failed`

  Emitted by an instance with the option `:checkpoint`: for each file that it writes, and at the start for the one that it
  continues from and for each that it does not.

  | measurement | unit | of | |
  | --- | --- | --- | --- |
  | `:keys` | ids | `:saved`, `:restored` | in the file, or that continue from it |
  | `:bytes` | bytes | `:saved` | the size of the file |
  | `:duration_ms` | milliseconds | `:saved`, `:restored` | |
  | `:age_ms` | milliseconds | `:restored` | since the file was written; negative if the clock was set back |
  | `:left_out` | ids | `:restored` | that found no room, since `:max_keys` is lower now |
  | `:count` | events | `:refused`, `:failed` | always 1 |

  Metadata:

    * `:instance`
    * `:file` - not of `:failed`; of `:refused`, where the file is now
    * `:dropped` - of `:restored`: the limiters, and the windows as `"limiter.window"`, that are in the file but no longer
      configured, or have another algorithm
    * `:action` - of `:failed`: `:save` or `:restore`
    * `:reason` - of `:refused` and `:failed`, in words

  ## `[:rate_limiter, :shutdown]`

  Emitted when an instance with a Redis store, or with `shutdown: [admit: false]`, stops in order, before its limiters end.

  | measurement | unit | |
  | --- | --- | --- |
  | `:duration_ms` | milliseconds | |
  | `:settled` | ids | whose usage in an outage was reported to Redis meanwhile |
  | `:owing` | ids | whose usage was not, and is lost: Redis was away, or the deadline `:within` too short |

  Metadata: `:instance`.

  ## `[:rate_limiter, :redis, :command]`

  Emitted for each batch of calls to Redis that was answered or failed, if a handler is attached. For a handler that is
  attached while the instance runs, the events start within a second.

  | measurement | unit | |
  | --- | --- | --- |
  | `:calls` | calls | in the batch |
  | `:duration_us` | microseconds | from sending to the last answer |
  | `:missed` | events | dropped since the last one, because handlers were too slow |

  Metadata:

    * `:instance`
    * `:server` - `host:port`, or the path of a Unix socket
    * `:result` - `:ok` or `:error`
    * `:reason` - `nil`, or the first failure: `"timeout"`, `"closed"`, or the error code of the server, such as
      `"OOM"`. `"WRONGTYPE"` also if the key of a call has a value that no limiter wrote.

  ## `[:rate_limiter, :redis, :connection]`

  Emitted when a connection to Redis was opened, was lost, or could not be opened. Also when no Sentinel and no node of a
  Cluster names the servers, once for each reason.

  Measurements: `:count`, always 1.

  Metadata:

    * `:instance` and `:server` - as above, the server is `nil` if the credentials or certificates could not be read, and
      all Sentinels or configured nodes, as `"host:port, host:port"`, if the servers could not be found
    * `:change` - `:up`, `:down`, `:failed`, or `:refused` if the server rejects the credentials
    * `:reason` - in words, `nil` for `:up`

  ## `[:rate_limiter, :redis, :eviction]`

  Emitted when a Redis server is found to evict keys when its memory is full. An evicted key loses its usage, as by a
  reset. Emitted once for each server until its policy changes, and not if the ACL user may not read it (`+info`).

  | measurement | unit | |
  | --- | --- | --- |
  | `:maxmemory` | bytes | the memory at which the server starts to evict |

  Metadata:

    * `:instance` and `:server` - as above
    * `:policy` - the `maxmemory-policy`
    * `:reason` - in words, with what to change

  ## `[:rate_limiter, :redis, :heartbeat]`

  Emitted when Redis refuses the heartbeats by which nodes know each other, for each new reason, and when it accepts them
  again. While it refuses them, limits are divided by the option `:nodes` in an outage.

  Measurements: `:count`, always 1.

  Metadata:

    * `:instance`
    * `:result` - `:error`, or `:ok` when heartbeats are accepted again
    * `:reason` - the reply of Redis, `nil` for `:ok`

  ## `[:rate_limiter, :circuit_breaker, :opened]`, `:half_open` and `:closed`

  Emitted when the breaker of a Redis server changes. It opens after several failures in a row, and no caller waits for
  the server any more. It is half open while it tries the server again, and closes when the server works.

  Measurements: `:count`, always 1.

  Metadata:

    * `:instance` and `:server` - as above. Of a `RateLimiter.Store`, the server is the name of its module
    * `:from` - the previous state, `:opened`, `:half_open` or `:closed`
    * `:reason` - in words

  ## `[:rate_limiter, :fallback, :started]` and `:stopped`

  Emitted when a limiter starts to decide without Redis, by its `:on_outage`, and when it uses Redis again. In a Cluster,
  `:started` is for the first server that is away, and `:stopped` for the last one that is back.

  Measurements: `:count`, always 1.

  Metadata: `:instance`, `:limiter`, `:on_outage`, and `:nodes`, the number of nodes that share the limit.

  ## `[:rate_limiter, :vsm, :adaptation]`

  Emitted when the scale of a subsystem was changed or a change was held back, and when a sensor, a measure or a law
  fails. Has the same data as `RateLimiter.VSM.explain/1`.

  | measurement | unit | |
  | --- | --- | --- |
  | `:from`, `:to` | factor | the scale before and after |
  | `:stress` | 0.0 to 1.0 | |

  Metadata:

    * `:instance`
    * `:subsystem` - `nil` for the gate of this node
    * `:action` - `:cut`, `:audit`, `:grow`, `:idle` or `:hold`; `:alone` when the nodes stop to agree, `:join` when
      this node adopts what they agreed on
    * `:binding` - the signal that decided
    * `:held_by` - what held the change back, or `nil`
    * `:sentence` - the same in words
    * `:dry_run` - whether the change was computed only
    * `:agreement` - `:agreed`, `:alone`, or `nil` without other nodes
    * `:epoch` - the step of all nodes that it belongs to, or `nil`

  ## `[:rate_limiter, :algedonic, :pain]` and `:pleasure`

  Emitted for each signal on a subsystem.

  Measurements: `:level`, from 0.0 to 1.0, as reported.

  Metadata: `:instance`, `:subsystem`, `:source` and `:reason`.

  ## `[:rate_limiter, :algedonic, :escalation]`

  Emitted when pain was not resolved in time, and is passed to the parent of a subsystem. At the root, an operator
  has to act.

  Measurements: `:level`, from 0.0 to 1.0.

  Metadata: `:instance`, `:subsystem`, `:source`; `:to`, the parent or `nil`; `:sentence`.

  ## `[:rate_limiter, :algedonic, :bypass]`

  Emitted for each call with `emergency: true`.

  | measurement | unit | |
  | --- | --- | --- |
  | `:cost` | cost | the cost of the call |
  | `:remaining` | cost | what is left of the emergency budget |

  Metadata: `:instance`, `:subsystem`, `:id_hash` as above, and `:result`, `:granted` or `:spent` (then the usual limit
  decides the call).
  """

  alias RateLimiter.Core.Limit
  alias RateLimiter.Telemetry.IdHash
  alias RateLimiter.Usage

  @check [:rate_limiter, :check]
  @violation [:rate_limiter, :violation]
  @would_deny [:rate_limiter, :would_deny]
  @threshold [:rate_limiter, :threshold]
  @adaptation [:rate_limiter, :vsm, :adaptation]
  @adapted [:subsystem, :action, :binding, :held_by, :sentence, :dry_run, :agreement, :epoch]
  @signals %{
    pain: [:rate_limiter, :algedonic, :pain],
    pleasure: [:rate_limiter, :algedonic, :pleasure]
  }
  @escalation [:rate_limiter, :algedonic, :escalation]
  @bypass [:rate_limiter, :algedonic, :bypass]
  @command [:rate_limiter, :redis, :command]
  @clock [:rate_limiter, :clock]

  @doc false
  @spec allowed(Usage.t(), RateLimiter.Core.Native.emits(), RateLimiter.id()) :: :ok
  def allowed(usage, :all, _id), do: check(usage, :allowed)

  def allowed(usage, {:passed, events, windows}, id) do
    for window <- windows, do: threshold(Map.get(usage.windows, window, usage), id)
    allowed(usage, events, id)
  end

  def allowed(_usage, _events, _id), do: :ok

  @doc false
  @spec would_deny(Usage.t(), RateLimiter.Core.Native.emits(), RateLimiter.id()) :: :ok
  def would_deny(usage, events, id) do
    for own <- parts(usage), own.would_deny, do: exceeded(@would_deny, own, id)
    allowed(usage, events, id)
  end

  defp parts(%Usage{windows: windows} = usage) when windows == %{}, do: [usage]
  defp parts(%Usage{windows: windows}), do: Map.values(windows)

  @doc false
  @spec denied(Usage.t(), RateLimiter.Core.Native.events(), RateLimiter.id()) :: :ok
  def denied(usage, :none, id), do: exceeded(@violation, usage, id)

  def denied(usage, _events, id) do
    check(usage, :denied)
    exceeded(@violation, usage, id)
  end

  @doc false
  @spec unavailable(Usage.t(), RateLimiter.Core.Native.events()) :: :ok
  def unavailable(_usage, :none), do: :ok
  def unavailable(usage, _events), do: check(usage, :unavailable)

  @doc false
  @spec adaptation(term, map) :: :ok
  def adaptation(instance, entry) do
    metadata = Map.take(entry, @adapted)
    measurements = Map.take(entry, [:from, :to, :stress])
    :telemetry.execute(@adaptation, measurements, Map.put(metadata, :instance, instance))
  end

  @typedoc false
  @type subsystem :: %{
          required(:instance) => term,
          required(:name) => atom,
          optional(atom) => term
        }

  @doc false
  @spec signal(subsystem, :pain | :pleasure, float, term, term) :: :ok
  def signal(subsystem, kind, level, source, reason) do
    metadata = Map.merge(whose(subsystem), %{source: source, reason: reason})
    :telemetry.execute(@signals[kind], %{level: level}, metadata)
  end

  @doc false
  @spec escalation(subsystem, float, atom | nil, term, String.t()) :: :ok
  def escalation(subsystem, level, to, source, sentence) do
    metadata = Map.merge(whose(subsystem), %{to: to, source: source, sentence: sentence})
    :telemetry.execute(@escalation, %{level: level}, metadata)
  end

  @doc false
  @spec bypass(subsystem, Usage.t(), :granted | :spent, RateLimiter.id()) :: :ok
  def bypass(subsystem, usage, result, id) do
    metadata = Map.merge(whose(subsystem), %{result: result, id_hash: IdHash.hash(id)})
    :telemetry.execute(@bypass, Map.take(usage, [:cost, :remaining]), metadata)
  end

  defp whose(%{instance: instance, name: name}), do: %{instance: instance, subsystem: name}

  @doc false
  @spec commands_listened?() :: boolean
  def commands_listened?, do: listened?(@command)

  @doc false
  @spec clock(term, integer) :: :ok
  def clock(instance, moved_ms) do
    reason =
      "UTC has moved by #{moved_ms} ms: the system's clock was set, or a snapshot was restored. Aligned windows follow"

    :telemetry.execute(@clock, %{moved_ms: moved_ms}, %{instance: instance, reason: reason})
  end

  @doc false
  @spec shutdown(term, {before :: non_neg_integer, owing :: non_neg_integer}, non_neg_integer) ::
          :ok
  def shutdown(instance, {before, owing}, duration_ms) do
    measurements = %{duration_ms: duration_ms, settled: max(before - owing, 0), owing: owing}
    :telemetry.execute([:rate_limiter, :shutdown], measurements, %{instance: instance})
  end

  @doc false
  @spec limit_changed(term, atom, atom, {Limit.t(), Limit.t()}, String.t() | nil) :: :ok
  def limit_changed(instance, limiter, window, {from, to}, by) do
    metadata = %{instance: instance, limiter: limiter, window: window, by: by}
    metadata = Map.merge(metadata, %{from: numbers(from), to: numbers(to)})
    :telemetry.execute([:rate_limiter, :limit, :changed], %{count: 1}, metadata)
  end

  @doc false
  @spec limiter_reset(term, atom) :: :ok
  def limiter_reset(instance, limiter) do
    metadata = %{instance: instance, limiter: limiter}
    :telemetry.execute([:rate_limiter, :limiter, :reset], %{count: 1}, metadata)
  end

  @doc false
  @spec limits_refused(term, String.t(), [String.t(), ...]) :: :ok
  def limits_refused(instance, source, reasons) do
    # A file may be wrong in each of its thousand windows.
    {first, others} = Enum.split(reasons, 10)
    first = if others == [], do: first, else: first ++ ["and #{length(others)} more"]
    metadata = %{instance: instance, source: source, reason: Enum.join(first, "; ")}
    :telemetry.execute([:rate_limiter, :limits, :refused], %{reasons: length(reasons)}, metadata)
  end

  defp numbers(%Limit{limit: limit, per: per, burst: burst, enforce: enforce}) do
    per_ms = div(Limit.nanoseconds(per), 1_000_000)
    %{limit: limit, per_ms: per_ms, burst: burst, enforce: enforce}
  end

  @doc false
  @spec fallback(:started | :stopped, map) :: :ok
  def fallback(change, metadata),
    do: :telemetry.execute([:rate_limiter, :fallback, change], %{count: 1}, metadata)

  # Building the maps costs more than checking for handlers, so check first.
  defp check(usage, result) do
    if listened?(@check) do
      measurements = %{cost: usage.cost, remaining: usage.remaining, current: usage.current}

      metadata = %{
        limiter: usage.limiter,
        window: usage.window,
        result: result,
        source: usage.source,
        scale: usage.scale,
        would_deny: usage.would_deny
      }

      :telemetry.execute(@check, measurements, metadata)
    else
      :ok
    end
  end

  defp exceeded(event, usage, id) do
    if listened?(event) do
      measurements = Map.take(usage, [:cost, :max, :current])
      metadata = Map.take(usage, [:limiter, :window, :source, :scale, :retry_after_ms])
      :telemetry.execute(event, measurements, Map.merge(metadata, IdHash.fields(id)))
    else
      :ok
    end
  end

  defp threshold(usage, id) do
    metadata = Map.take(usage, [:limiter, :window, :source, :scale])
    measurements = Map.take(usage, [:cost, :max, :current])
    :telemetry.execute(@threshold, measurements, Map.merge(metadata, IdHash.fields(id)))
  end

  # The public `list_handlers/1` reads the handlers of all events, this function only those that `execute/3` would call.
  if Code.ensure_loaded?(:telemetry_handler_table) and
       function_exported?(:telemetry_handler_table, :list_for_event, 1) do
    defp listened?(event), do: :telemetry_handler_table.list_for_event(event) != []
  else
    defp listened?(event), do: :telemetry.list_handlers(event) != []
  end
end
