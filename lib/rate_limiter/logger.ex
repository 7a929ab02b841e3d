defmodule RateLimiter.Logger do
  @moduledoc """
  Log lines about outages of Redis, or of a store of your own, and about checkpoints, on by default.

  The application attaches this handler when it starts, so an outage never passes in silence. It logs, at `:warning`,

    * one line when an instance begins to decide calls without Redis, and one when it uses Redis again,
    * each new reason why no Sentinel and no node of a Cluster names the servers,
    * an instance that stops before it could report to Redis what it has admitted in an outage,
    * a checkpoint that could not be written, and one that was refused at the start,
    * when Redis refuses the heartbeats by which nodes count each other, and when it accepts them again,
    * at start, an instance with `on_outage: :share` and no number of `:nodes`.

  `attach(also: kinds)` logs more of what an operator may want to read: `:escalations`, pain that lasted and was passed to the
  parent of a subsystem; `:thresholds`, ids that have used the share `:threshold` of a limit; `:limits`, limits that were changed
  at run time.

      RateLimiter.Logger.attach(also: [:escalations, :limits])

  It never logs an id or a password. An instance with the option `log: false` logs nothing. `detach/0` ends the lines of all
  instances:

      RateLimiter.Logger.detach()

  The handler costs a call nothing: it runs when an outage begins or ends.
  """

  require Logger

  alias RateLimiter.Core.Options
  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.Client

  @events [
    [:rate_limiter, :fallback, :started],
    [:rate_limiter, :fallback, :stopped],
    [:rate_limiter, :redis, :connection],
    [:rate_limiter, :redis, :heartbeat],
    [:rate_limiter, :limits, :refused],
    [:rate_limiter, :shutdown],
    [:rate_limiter, :checkpoint, :refused],
    [:rate_limiter, :checkpoint, :failed]
  ]

  @also [
    escalations: [:rate_limiter, :algedonic, :escalation],
    thresholds: [:rate_limiter, :threshold],
    limits: [:rate_limiter, :limit, :changed]
  ]

  @levels [:emergency, :alert, :critical, :error, :warning, :notice, :info, :debug]

  @schema [
    level: [type: {:in, @levels}, default: :warning],
    also: [
      type:
        {:custom, &__MODULE__.also?/1,
         "a list of #{Enum.map_join(@also, ", ", &inspect(elem(&1, 0)))}"},
      default: []
    ]
  ]

  # The maximum number of reasons that are logged until a server is connected.
  @max_reasons 16

  @doc """
  Attaches the handler, or attaches it again with other options.

  ## Options

    * `:level` - the level of the lines. Default: `:warning`.
    * `:also` - a list of `:escalations`, `:thresholds` and `:limits`, which are logged, too. Default: `[]`.

  ## Examples

      iex> RateLimiter.Logger.attach(level: :error, also: [:limits])
      :ok
      iex> RateLimiter.Logger.attach()
      :ok

  Raises `ArgumentError` if an option is invalid.
  """
  @spec attach(keyword) :: :ok
  def attach(options \\ []) do
    %{level: level, also: also} = Options.validate!(options, @schema, [])
    detach()
    events = @events ++ for(kind <- also, do: @also[kind])
    :telemetry.attach_many(__MODULE__, events, &__MODULE__.handle/4, level)
  end

  @doc false
  def also?(kinds),
    do: is_list(kinds) and Enum.uniq(kinds) == kinds and kinds -- Keyword.keys(@also) == []

  @doc """
  Detaches the handler. Without it, only telemetry events report an outage.
  """
  @spec detach() :: :ok
  def detach do
    _not_found = :telemetry.detach(__MODULE__)
    :ok
  end

  @doc false
  # The default is the most permissive number.
  @spec started(Instance.t(), RateLimiter.Instance.Config.t()) :: :ok
  def started(%Instance{log: true} = instance, %{store: {:redis, %{nodes: nil}}} = config) do
    shared = for {name, %{on_outage: :share}} <- config.limiters, do: name

    with [_ | _] <- shared, {:ok, level} <- level() do
      Logger.log(
        level,
        "#{title(instance)}: expected the option nodes: of the Redis store, got: none. A node that starts while Redis is " <>
          "away counts as the only one, and admits the whole limit. Set nodes: to the number of your nodes"
      )
    else
      _none -> :ok
    end
  end

  def started(_instance, _config), do: :ok

  @doc false
  def handle(event, measurements, metadata, level) do
    with %Instance{log: true} = instance <- instance(metadata),
         line when is_binary(line) <- line(event, Map.merge(metadata, measurements), instance) do
      Logger.log(level, "#{title(instance)}: #{line}")
    end
  end

  defp instance(%{instance: name}), do: Registry.instance(name)
  # The limiter may have been removed since.
  defp instance(%{limiter: limiter}), do: Registry.holder(limiter)

  # An outage is one of the instance, however many limiters notice it. The row is gone with the instance.
  defp line([_, :fallback, :started], metadata, %{table: table} = instance) do
    if :ets.insert_new(table, {{:logged, :alone}, System.monotonic_time(:millisecond)}) do
      "decides without #{authority(instance)}#{because(instance)}. Limiters follow their :on_outage, as one of #{metadata.nodes} nodes"
    end
  end

  defp line([_, :fallback, :stopped], _metadata, %{table: table} = instance) do
    with [{_key, since_ms}] <- :ets.take(table, {:logged, :alone}) do
      "uses #{authority(instance)} again, after #{System.monotonic_time(:millisecond) - since_ms} ms"
    end
  end

  defp line([_, :redis, :connection], %{change: :up}, %{table: table}) do
    :ets.match_delete(table, {{:logged, :reason, :_}, :_})
    nil
  end

  defp line([_, :redis, :connection], %{reason: reason, server: server}, instance) do
    with {:redis, store} <- instance.store,
         %{servers: [], problem: ^reason} when reason != nil <- Client.status(store),
         true <- new?(instance.table, reason),
         do: "cannot find the servers of Redis through #{server}: #{reason}"
  end

  defp line([_, :redis, :heartbeat], %{result: :ok}, _instance),
    do: "Redis accepts the heartbeats of this node again"

  defp line([_, :redis, :heartbeat], %{reason: reason}, _instance) do
    "Redis refuses the heartbeats by which nodes count each other: #{reason}. In an outage limits are divided by nodes:. " <>
      "Compare the rights of its user with guides/redis.md"
  end

  defp line([_, :shutdown], %{owing: owing}, _instance) when owing > 0,
    do: "stops while Redis is away: what #{owing} ids have used in the outage is lost"

  defp line([_, :shutdown], _all_reported, _instance), do: nil

  defp line([_, :checkpoint, :refused], %{file: file, reason: reason}, _instance),
    do: "does not continue from #{file}: #{reason}"

  defp line([_, :checkpoint, :failed], %{action: action, reason: reason}, _instance),
    do: "cannot #{action} a checkpoint: #{reason}"

  defp line([_, :algedonic, :escalation], metadata, _instance) do
    to = if metadata.to, do: "was passed to #{inspect(metadata.to)}", else: "needs an operator"
    "pain of #{inspect(metadata.subsystem)} has lasted, and #{to}: #{metadata.sentence}"
  end

  defp line([_, :threshold], metadata, _instance) do
    "#{metadata.limiter}.#{metadata.window}: the id with the hash #{metadata.id_hash} has used #{metadata.current} of " <>
      "#{metadata.max}"
  end

  defp line([_, :limit, :changed], %{from: from, to: to} = metadata, _instance),
    do:
      "#{metadata.limiter}.#{metadata.window}: changed from #{numbers(from)} to #{numbers(to)}" <>
        if(metadata.by, do: " by #{metadata.by}", else: "")

  defp line([_, :limits, :refused], metadata, _instance),
    do: "#{metadata.source} is refused, and limits stay as they are: #{metadata.reason}"

  defp numbers(%{limit: limit, per_ms: per_ms, burst: burst, enforce: enforce}) do
    bursts = if burst, do: " with bursts of #{burst}", else: ""
    shadow = if enforce, do: "", else: " in shadow mode"
    "#{limit} per #{per_ms} ms#{bursts}#{shadow}"
  end

  defp new?(table, reason) do
    logged = :ets.select_count(table, [{{{:logged, :reason, :_}, :_}, [], [true]}])
    logged < @max_reasons and :ets.insert_new(table, {{:logged, :reason, reason}, true})
  end

  defp authority(%{store: {:store, _store}}), do: "its store"
  defp authority(_redis), do: "Redis"

  defp because(%{store: {:redis, store}}) do
    with %{servers: servers, problem: problem} <- Client.status(store),
         [_ | _] = known <- problems(servers, problem),
         do: ": " <> Enum.join(known, "; "),
         else: (_unknown -> "")
  end

  defp because(%{store: {:store, store}}) do
    case RateLimiter.Store.Client.status(store) do
      %{problem: problem} when is_binary(problem) -> ": " <> problem
      _unknown -> ""
    end
  end

  defp because(_local), do: ""

  defp problems(servers, problem) do
    of_servers = for %{server: server, problem: why} <- servers, why, do: "#{server}: #{why}"
    if problem, do: [problem | of_servers], else: of_servers
  end

  defp level do
    handlers = :telemetry.list_handlers([:rate_limiter, :fallback, :started])
    handler = Enum.find(handlers, &(&1.id == __MODULE__))
    if handler, do: {:ok, handler.config}, else: :none
  end

  defp title(%Instance{name: name}), do: "RateLimiter #{inspect(name)}"
end
