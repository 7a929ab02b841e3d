defmodule RateLimiter.Telemetry do
  @moduledoc """
  The events of `RateLimiter`, for `:telemetry`. Their names stay.

  ## `[:rate_limiter, :check]`

  A call of `RateLimiter.check_and_track/3` or an entry of `RateLimiter.check_batch/3` was decided. A limiter's
  option `:events` turns these down to `:denials` or `:none`, since a check costs less than an event.

    * Measurements: `:cost`, what the call asked for; `:remaining` and `:current`, what is left and in use after it.
    * Metadata: `:limiter`; `:window`, where several were asked the one that denied or has the least left;
      `:result`, `:allowed` or `:denied`; `:source`; `:scale`.

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
      and `:swept` (idle keys that left) since the start.
    * Metadata: `:instance`, its name; `:store`; `:limiters`, a map from each limiter to its own numbers.
  """

  alias RateLimiter.Usage

  @check [:rate_limiter, :check]
  @violation [:rate_limiter, :violation]
  @stats [:rate_limiter, :stats]

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
  @spec allowed(Usage.t(), RateLimiter.Native.events()) :: :ok
  def allowed(usage, :all), do: check(usage, :allowed)
  def allowed(_usage, _events), do: :ok

  @doc false
  @spec denied(Usage.t(), RateLimiter.Native.events(), RateLimiter.id()) :: :ok
  def denied(usage, :none, id), do: violation(usage, id)

  def denied(usage, _events, id) do
    check(usage, :denied)
    violation(usage, id)
  end

  @doc false
  @spec stats(term, map) :: :ok
  def stats(instance, stats) do
    {metadata, measurements} = Map.split(stats, [:store, :limiters])
    :telemetry.execute(@stats, measurements, Map.put(metadata, :instance, instance))
  end

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
