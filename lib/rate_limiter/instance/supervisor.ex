defmodule RateLimiter.Instance.Supervisor do
  @moduledoc false
  # A running instance: its supervisor, and what can be asked of it.
  #
  # The supervisor owns the table of limiters. A crash of a child loses no count, and when the supervisor
  # ends, even by a kill, the runtime frees every limiter and its name.

  use Supervisor

  alias RateLimiter.{Config, Instance, Redis, Store, VSM}
  alias RateLimiter.Core.{Errors, Limit}
  alias RateLimiter.Instance.{Registry, Reporter, Sweeper, Writer}
  alias RateLimiter.VSM.Tree

  @nothing %{keys: 0, memory: 0, checks: 0, denials: 0, overflowed: 0, swept: 0}

  @doc false
  @spec start_link(Config.t()) :: Supervisor.on_start()
  def start_link(%Config{} = config) do
    key = {:instance, config.name}

    case Registry.whereis(key) do
      nil ->
        check_names!(config)
        Supervisor.start_link(__MODULE__, config, name: Registry.via(key))

      pid ->
        {:error, {:already_started, pid}}
    end
  end

  @impl true
  def init(%Config{name: name} = config) do
    limiters = [instance: name] |> Instance.new() |> Instance.connect!(config.store)
    Registry.publish({:instance, name}, limiters)
    for {limiter, options} <- config.limiters, do: Instance.add!(limiters, limiter, options)

    # No limiter's owner may stay on this heap: the table alone decides how long they live.
    space = Tree.new(config.vsm, name, limiters.clock, agreement(config, limiters.store))
    limiters = %{limiters | space: space, ready?: true}
    :erlang.garbage_collect()
    Registry.publish({:instance, name}, limiters)

    children = [
      {Writer, limiters},
      {Sweeper, limiters},
      {Reporter, {limiters, config.stats_interval}}
    ]

    Supervisor.init(children ++ store(limiters) ++ vsm(limiters.space), strategy: :one_for_one)
  end

  defp store(%{store: :local}), do: []

  defp store(limiters),
    do: [{Redis.Credentials, limiters}, {Redis.Heartbeat, limiters}, {Redis.Events, limiters}]

  defp agreement(%{vsm: %{agreement: agreement}, store: {_, redis}, name: name}, {:redis, store})
       when agreement != false,
       do: RateLimiter.Agreement.new(store, redis.prefix, name)

  defp agreement(_config, _store), do: nil

  defp vsm(nil), do: []
  defp vsm(space), do: [{VSM.Supervisor, space}]

  @doc "The limiters of the instance of this name, or an `ArgumentError` that lists those that run."
  @spec fetch!(term) :: Instance.t()
  def fetch!(name), do: Registry.instance(name) || raise(Errors.unknown_instance(name))

  @doc "The instance that holds a limiter, the calling test's own first."
  @spec holder!(atom) :: Instance.t()
  def holder!(limiter) when is_atom(limiter) do
    Enum.find(Registry.all(), &Instance.fetch(&1, limiter)) ||
      raise(Errors.unknown_limiter(limiter))
  end

  def holder!(other), do: raise(Errors.bad_call(other, 0))

  @doc "The limiters with their limits, configured and effective."
  @spec describe(Instance.t()) :: [{atom, map}]
  def describe(limiters) do
    for {name, handle, config} <- Instance.all(limiters), plan = Store.plan(handle) do
      windows =
        for {window, limit} <- config.windows, do: {window, describe(limit, plan.maxima[window])}

      {name, Map.merge(%{windows: windows, scale: plan.scale}, options(config, limiters.store))}
    end
  end

  defp options(config, :local), do: Map.take(config, [:events, :max_keys])
  defp options(config, {:redis, _}), do: Map.take(config, [:events, :max_keys, :on_outage])

  defp describe(%Limit{} = limit, max) do
    limit
    |> Map.take([:algorithm, :limit, :per, :sub_windows, :aligned])
    |> Map.merge(%{burst: Limit.burst(limit), max: max})
    |> Map.reject(fn {_key, value} -> is_nil(value) end)
  end

  @doc "What the limiters hold and did, each and in all."
  @spec stats(Instance.t()) :: map
  def stats(limiters) do
    each =
      for {name, handle, _config} <- Instance.all(limiters),
          stats = Store.stats(handle),
          into: %{},
          do: {name, stats}

    each
    |> Map.values()
    |> Enum.reduce(@nothing, &add/2)
    |> Map.merge(%{store: :local, limiters: each})
    |> with_redis(limiters)
  end

  # A number that only one kind of limiter has is that kind's total.
  defp add(one, total) do
    one
    |> Map.filter(fn {_key, value} -> is_integer(value) end)
    |> Map.merge(total, fn _key, one, other -> one + other end)
  end

  defp with_redis(stats, %{store: :local}), do: stats

  defp with_redis(stats, %{store: {:redis, store}}) do
    status = Redis.Client.status(store)
    Map.merge(stats, %{store: :redis, redis: status, breaker: breaker(status)})
  end

  # Of several servers the worst off.
  defp breaker(nil), do: nil

  defp breaker(%{servers: servers}) do
    states = Enum.map(servers, & &1.breaker)
    Enum.find([:opened, :half_open, :closed], &(&1 in states))
  end

  @doc "Whether all is well with the instance."
  @spec health(Instance.t() | nil) ::
          :ok
          | {:degraded, {:redis, [map] | String.t()} | {:full, [atom]} | {:evicts, [map]}}
          | {:error, :not_running}
  def health(nil), do: {:error, :not_running}

  def health(limiters) do
    # What stops calls goes before what may make them forget.
    with {:ok, servers} <- servers(limiters),
         :ok <- servers |> Enum.reject(&well?/1) |> degraded(:redis),
         :ok <- limiters |> full() |> degraded(:full),
         do: servers |> Enum.filter(& &1.evicts) |> degraded(:evicts)
  end

  defp servers(%{store: :local}), do: {:ok, []}

  defp servers(%{store: {:redis, store}}) do
    case Redis.Client.status(store) do
      nil ->
        {:error, :not_running}

      %{servers: [], problem: problem} ->
        {:degraded, {:redis, problem || "no server is known yet"}}

      %{servers: servers} ->
        {:ok, servers}
    end
  end

  defp well?(%{breaker: breaker, connections: connections}),
    do: breaker == :closed and connections > 0

  defp full(limiters),
    do: for({name, handle, _config} <- Instance.all(limiters), Store.full?(handle), do: name)

  defp degraded([], _how), do: :ok
  defp degraded(which, how), do: {:degraded, {how, which}}

  # Said before anything starts, since what fails in a supervisor's init takes its caller along.
  defp check_names!(config) do
    for limiters <- Registry.instances(),
        {name, _options} <- config.limiters,
        Instance.fetch(limiters, name) do
      raise Errors.taken(name, limiters.instance)
    end
  end
end
