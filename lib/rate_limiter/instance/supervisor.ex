defmodule RateLimiter.Instance.Supervisor do
  @moduledoc false
  # The supervisor of a running instance. It owns the table of limiters: a crash of a child loses no count, and when the
  # supervisor exits, even when it is killed, the runtime frees every limiter and its name. Counts are worth more than an
  # early end, so it tolerates very many restarts.

  use Supervisor

  alias RateLimiter.{Agreement, Instance, Redis, Store, VSM}
  alias RateLimiter.Core.{Errors, Options}
  alias RateLimiter.Instance.{Checkpoint, Checkpointer, Clock, Config, Registry, Reporter}
  alias RateLimiter.Instance.{Shutdown, Sweeper, Writer}
  alias RateLimiter.Limits.{Cluster, Watch}

  @doc false
  @spec start_link(Config.t()) :: Supervisor.on_start()
  def start_link(%Config{} = config) do
    key = {:instance, config.name}

    case Registry.whereis(key) do
      nil ->
        # An error in `init/1` would end the caller, too, so these are raised before.
        config = Watch.merge!(config)
        check_names!(config)
        Checkpoint.open!(config.checkpoint)
        Supervisor.start_link(__MODULE__, config, name: Registry.via(key))

      pid ->
        {:error, {:already_started, pid}}
    end
  end

  @impl true
  def init(%Config{name: name} = config) do
    instance = Instance.new(name: name, log: config.log, utc: Clock.new())
    instance = connect!(instance, config.store)
    Registry.publish(instance)
    for {limiter, options} <- config.limiters, do: Writer.add!(instance, limiter, options)

    # Before anything of this instance hashes an id: then it can do so under the secret of the file.
    Checkpoint.begin(instance, config.checkpoint)
    restored = Checkpoint.restore(instance, config.checkpoint)

    subsystems = VSM.Tree.new(config.vsm, name, instance.clock, agreement(config, instance.store))
    instance = %{instance | subsystems: subsystems, ready?: true}
    # No owner of a limiter may stay on this heap: the table alone decides how long limiters live.
    :erlang.garbage_collect()
    Registry.publish(instance)

    RateLimiter.Logger.started(instance, config)
    Checkpoint.report(instance, restored)

    children =
      [{Writer, instance}] ++
        checkpointer(instance, config.checkpoint) ++
        [{Sweeper, instance}, {Reporter, {instance, config.stats_interval}}]

    children =
      children ++
        source(instance, config.limits) ++
        store(instance, config) ++ vsm(subsystems) ++ shutdown(instance, config.shutdown)

    Supervisor.init(children,
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1
    )
  end

  defp check_names!(config) do
    for instance <- Registry.instances(),
        {limiter, _options} <- config.limiters,
        Instance.fetch(instance, limiter),
        do: raise(Errors.taken(limiter, instance.name))
  end

  defp connect!(instance, :local), do: instance

  defp connect!(%Instance{name: name, table: table} = instance, {:redis, config}) do
    tls = %{
      servers: Redis.Certificates.open!(table, :servers, config.ssl),
      sentinels: Redis.Certificates.open!(table, :sentinels, config.sentinel_ssl)
    }

    case Redis.Client.start(name, config, tls, Redis.Credentials.open(table, config)) do
      {:ok, store, owner} ->
        :ets.insert(table, {{:redis, :owner}, owner})
        %{instance | store: {:redis, store}}

      {:error, reason} ->
        Options.misuse!([:store], reason)
    end
  end

  defp connect!(%Instance{name: name, table: table} = instance, {module, config}) do
    case Store.Client.start(name, config) do
      {:ok, store, owner, state} ->
        :ets.insert(table, {{:store, :owner}, {owner, module, state}})
        %{instance | store: {:store, store}}

      {:error, reason} ->
        Options.misuse!([:store], reason)
    end
  end

  defp agreement(%{vsm: %{agreement: agreement}, store: {_, redis}, name: name}, {:redis, store})
       when agreement != false,
       do: Agreement.new(store, redis.prefix, name)

  defp agreement(_config, _store), do: nil

  defp checkpointer(_instance, nil), do: []
  defp checkpointer(instance, checkpoint), do: [{Checkpointer, {instance, checkpoint}}]

  defp source(_instance, nil), do: []
  defp source(instance, source), do: [{Watch, {instance, source}}]

  defp store(_instance, %{store: :local}), do: []

  defp store(instance, %{store: {:redis, %{prefix: prefix}}, limits: source}) do
    cluster = %{instance: instance, prefix: prefix, follows?: source == nil}

    [
      {Redis.Credentials, instance},
      {Redis.Heartbeat, instance},
      {Redis.Events, instance},
      {Cluster, cluster}
    ]
  end

  defp store(%{table: table} = instance, %{store: {_module, config}}) do
    {_owner, _module, state} = :ets.lookup_element(table, {:store, :owner}, 2)
    [{Store.Pool, {instance, config, state}}]
  end

  defp shutdown(instance, options),
    do: if(Shutdown.needed?(instance, options), do: [{Shutdown, {instance, options}}], else: [])

  defp vsm(nil), do: []
  defp vsm(subsystems), do: [{VSM.Supervisor, subsystems}]
end
