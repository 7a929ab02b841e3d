defmodule RateLimiter.Telemetry do
  @moduledoc """
  The events of `RateLimiter`, for `:telemetry`. Their names stay.

  ## `[:rate_limiter, :check]`

  A call of `RateLimiter.check_and_track/3` or an entry of `RateLimiter.check_batch/3` was decided. A limiter's
  option `:events` turns these down to `:denials` or `:none`, since a check costs less than an event.

    * Measurements: `:cost`, what the call asked for; `:remaining` and `:current`, what is left and in use after it.
    * Metadata: `:limiter`; `:window`, where several were asked the one that denied or has the least left;
      `:result`, which is `:allowed`, `:denied` or `:unavailable`; `:source`; `:scale`.

  ## `[:rate_limiter, :violation]`

  A call was denied. This comes whatever `:events` says.

    * Measurements: `:cost`; `:max` and `:current`, what the window holds and what is in use.
    * Metadata: `:limiter`, `:window`, `:source` and `:scale` as above; `:retry_after_ms`, milliseconds or
      `:infinity`; `:id_hash`, which tells one caller from another without telling who it is.

  An `:id_hash` is the keyed hash of an id under a secret that this node draws when it starts: who knows all the
  ids that there can be still cannot tell which one it is. It changes with a restart, and from node to node.

  ## `[:rate_limiter, :stats]`

  An instance's totals, every `:stats_interval`.

    * Measurements, each a total over the instance's limiters: `:keys` and `:memory` (bytes) that are kept now;
      `:checks`, `:denials`, `:overflowed` (newcomers that were judged together because `:max_keys` were kept)
      and `:swept` (idle keys that left) since the start. With Redis also `:cached_denials`, `:fallbacks`,
      `:unavailable`, `:pending` and `:owing`, as `RateLimiter.stats/1` explains them.
    * Metadata: `:instance`, its name; `:store`; `:limiters`, a map from each limiter to its own numbers; with
      Redis also `:redis`, how that is doing, and `:breaker`, the state of the breaker that is worst off.

  ## `[:rate_limiter, :redis, :command]`

  Calls that travelled to Redis together were answered, or will not be. Only where somebody listens: handlers that are
  attached later than the instance is started begin to hear these within a second.

    * Measurements: `:calls`, how many travelled together; `:duration_us`, microseconds from sending to the last
      answer; `:missed`, how many such events were left out since the last one because handlers were too slow.
    * Metadata: `:instance`; `:server`, as `host:port` or the path of a socket; `:result`, `:ok` or `:error`;
      `:reason`, `nil` or the first failure: `"timeout"`, `"closed"`, or the code that the server gave, as `"OOM"`;
      `"WRONGTYPE"` also where the key of a call holds what no limiter wrote.

  ## `[:rate_limiter, :redis, :connection]`

  A connection to Redis came, went, or could not be made.

    * Measurements: `:count`, always 1.
    * Metadata: `:instance` and `:server` as above; `:change`, which is `:up`, `:down`, `:failed` or `:refused` (the
      server does not take the credentials); `:reason`, in words, `nil` for `:up`.

  ## `[:rate_limiter, :redis, :eviction]`

  A Redis server was found to evict keys when its memory is full: what such a key has used is forgotten, as by a reset.
  Told once for each server, until its policy is another; not where the user may not ask (`+info`).

    * Measurements: `:maxmemory`, the bytes from which on it does.
    * Metadata: `:instance` and `:server` as above; `:policy`, its `maxmemory-policy`; `:reason`, in words, with what to
      change.

  ## `[:rate_limiter, :circuit_breaker, :opened]`, `:half_open` and `:closed`

  The breaker of a Redis server changed: after several failures in a row it opens, and no caller waits any more; then
  it tries the server again and again, each time half open; and closes when the server works.

    * Measurements: `:count`, always 1.
    * Metadata: `:instance` and `:server` as above; `:from`, what it was: `:opened`, `:half_open` or `:closed`;
      `:reason`, in words.

  ## `[:rate_limiter, :fallback, :started]` and `:stopped`

  A limiter began to answer without Redis, as its `:on_outage` says, and went back to Redis.

    * Measurements: `:count`, always 1.
    * Metadata: `:instance`; `:limiter`; `:on_outage`; `:nodes`, among how many the limit is shared.

  ## `[:rate_limiter, :vsm, :adaptation]`

  A subsystem's scale was changed, or would have been but for something that held it; or a sensor, a measure or a law
  failed, and so had no opinion. What `RateLimiter.VSM.explain/1` returns, as it happens.

    * Measurements: `:from` and `:to`, the scale before and after; `:stress`, from 0.0 to 1.0.
    * Metadata: `:instance`; `:subsystem`, `nil` where it is this node's gate; `:action`, `:cut`, `:audit`, `:grow`, `:idle` or
      `:hold`, `:alone` where the nodes ceased to agree, `:join` where this one took up what they agreed on; `:binding`, the signal that decided; `:held_by`, what held it, or `nil`; `:sentence`, the same in words;
      `:dry_run`, whether it was applied; `:agreement`, `:agreed`, `:alone`, or `nil` where there is nobody to agree with;
      `:epoch`, the step of all nodes that it was, or `nil`.

  ## `[:rate_limiter, :algedonic, :pain]` and `[:rate_limiter, :algedonic, :pleasure]`

  A source said how a subsystem is.

    * Measurements: `:level`, from 0.0 to 1.0, as it was said.
    * Metadata: `:instance`, `:subsystem`, `:source`, `:reason`.

  ## `[:rate_limiter, :algedonic, :escalation]`

  Pain was not resolved in time, and told to the parent; at the root, to you.

    * Measurements: `:level`.
    * Metadata: `:instance`, `:subsystem`, `:source`; `:to`, the parent or `nil`; `:sentence`.

  ## `[:rate_limiter, :algedonic, :bypass]`

  A call said that it is an emergency.

    * Measurements: `:cost`; `:remaining`, what is left of the budget for emergencies.
    * Metadata: `:instance`, `:subsystem`; `:result`, `:granted` or `:spent` (then the call went on to the usual limit);
      `:id_hash` as above.

  A call of a subsystem makes `:check` and `:violation` events, too: there `:limiter` is the subsystem, and `:window` is
  `:rate`, or what turned it away, `:in_flight` or `:gate`.
  """

  alias RateLimiter.Usage
  alias RateLimiter.VSM.Subsystem

  @check [:rate_limiter, :check]
  @violation [:rate_limiter, :violation]
  @stats [:rate_limiter, :stats]
  @adaptation [:rate_limiter, :vsm, :adaptation]
  @adapted [:subsystem, :action, :binding, :held_by, :sentence, :dry_run, :agreement, :epoch]
  @signals %{
    pain: [:rate_limiter, :algedonic, :pain],
    pleasure: [:rate_limiter, :algedonic, :pleasure]
  }
  @escalation [:rate_limiter, :algedonic, :escalation]
  @bypass [:rate_limiter, :algedonic, :bypass]

  @command [:rate_limiter, :redis, :command]
  @connection [:rate_limiter, :redis, :connection]
  @eviction [:rate_limiter, :redis, :eviction]

  @secret {__MODULE__, :secret}

  @doc false
  # Drawn once in the life of a node: changing a persistent term makes the runtime stop and look around.
  @spec start() :: :ok
  def start do
    if :persistent_term.get(@secret, nil) == nil do
      :persistent_term.put(@secret, :crypto.strong_rand_bytes(32))
    end

    :ok
  end

  @doc false
  @spec allowed(Usage.t(), RateLimiter.Core.Native.events()) :: :ok
  def allowed(usage, :all), do: check(usage, :allowed)
  def allowed(_usage, _events), do: :ok

  @doc false
  @spec denied(Usage.t(), RateLimiter.Core.Native.events(), RateLimiter.id()) :: :ok
  def denied(usage, :none, id), do: violation(usage, id)

  def denied(usage, _events, id) do
    check(usage, :denied)
    violation(usage, id)
  end

  @doc false
  @spec unavailable(Usage.t(), RateLimiter.Core.Native.events()) :: :ok
  def unavailable(_usage, :none), do: :ok
  def unavailable(usage, _events), do: check(usage, :unavailable)

  @doc false
  @spec stats(term, map) :: :ok
  def stats(instance, stats) do
    {metadata, measurements} = Map.split(stats, [:store, :limiters, :redis, :breaker])
    :telemetry.execute(@stats, measurements, Map.put(metadata, :instance, instance))
  end

  @doc false
  @spec adaptation(term, map) :: :ok
  def adaptation(instance, entry) do
    metadata = Map.take(entry, @adapted)
    measurements = Map.take(entry, [:from, :to, :stress])
    :telemetry.execute(@adaptation, measurements, Map.put(metadata, :instance, instance))
  end

  @doc false
  @spec signal(Subsystem.t(), :pain | :pleasure, float, term, term) :: :ok
  def signal(subsystem, kind, level, source, reason) do
    metadata = Map.merge(whose(subsystem), %{source: source, reason: reason})
    :telemetry.execute(@signals[kind], %{level: level}, metadata)
  end

  @doc false
  @spec escalation(Subsystem.t(), float, atom | nil, term, String.t()) :: :ok
  def escalation(subsystem, level, to, source, sentence) do
    metadata = Map.merge(whose(subsystem), %{to: to, source: source, sentence: sentence})
    :telemetry.execute(@escalation, %{level: level}, metadata)
  end

  @doc false
  @spec bypass(Subsystem.t(), Usage.t(), :granted | :spent, RateLimiter.id()) :: :ok
  def bypass(subsystem, usage, result, id) do
    metadata = Map.merge(whose(subsystem), %{result: result, id_hash: hash(id)})
    :telemetry.execute(@bypass, Map.take(usage, [:cost, :remaining]), metadata)
  end

  defp whose(%Subsystem{instance: instance, name: name}),
    do: %{instance: instance, subsystem: name}

  @spec commands_listened?() :: boolean
  def commands_listened?, do: listened?(@command)

  @doc false
  # What the native library tells of a Redis.
  @spec redis(term, RateLimiter.Core.Native.redis_event()) :: :ok
  def redis(instance, {:batch, server, calls, duration_us, failure, missed}) do
    result = if failure, do: :error, else: :ok
    measurements = %{calls: calls, duration_us: duration_us, missed: missed}
    metadata = %{instance: instance, server: server, result: result, reason: failure}
    :telemetry.execute(@command, measurements, metadata)
  end

  def redis(instance, {:connection, server, change, reason}) do
    metadata = %{instance: instance, server: server, change: change, reason: reason}
    :telemetry.execute(@connection, %{count: 1}, metadata)
  end

  def redis(instance, {:eviction, server, policy, maxmemory}) do
    reason =
      "expected maxmemory-policy noeviction, got: #{policy}, by which keys are forgotten when memory is short, and with " <>
        "them what was used; CONFIG SET maxmemory-policy noeviction, or give limits a Redis of their own"

    metadata = %{instance: instance, server: server, policy: policy, reason: reason}
    :telemetry.execute(@eviction, %{maxmemory: maxmemory}, metadata)
  end

  def redis(instance, {:breaker, server, from, to, reason}) do
    metadata = %{instance: instance, server: server, from: from, reason: reason}
    :telemetry.execute([:rate_limiter, :circuit_breaker, to], %{count: 1}, metadata)
  end

  @doc false
  @spec fallback(:started | :stopped, map) :: :ok
  def fallback(change, metadata),
    do: :telemetry.execute([:rate_limiter, :fallback, change], %{count: 1}, metadata)

  # Nothing is made for nobody: the maps of an event cost more than asking whether somebody listens.
  defp check(usage, result) do
    if listened?(@check) do
      %Usage{limiter: limiter, window: window, source: source, scale: scale} = usage
      measurements = %{cost: usage.cost, remaining: usage.remaining, current: usage.current}
      metadata = %{limiter: limiter, window: window, result: result, source: source, scale: scale}
      :telemetry.execute(@check, measurements, metadata)
    else
      :ok
    end
  end

  defp violation(usage, id) do
    if listened?(@violation) do
      measurements = Map.take(usage, [:cost, :max, :current])
      metadata = Map.take(usage, [:limiter, :window, :source, :scale, :retry_after_ms])
      :telemetry.execute(@violation, measurements, Map.put(metadata, :id_hash, hash(id)))
    else
      :ok
    end
  end

  # The public `list_handlers/1` reads the handlers of all events; this is what `execute/3` itself asks.
  if Code.ensure_loaded?(:telemetry_handler_table) and
       function_exported?(:telemetry_handler_table, :list_for_event, 1) do
    defp listened?(event), do: :telemetry_handler_table.list_for_event(event) != []
  else
    defp listened?(event), do: :telemetry.list_handlers(event) != []
  end

  defp hash(id) do
    :hmac
    |> :crypto.mac(:sha256, :persistent_term.get(@secret), :erlang.term_to_binary(id))
    |> binary_part(0, 8)
    |> Base.encode16(case: :lower)
  end
end
