defmodule RateLimiter.Instance.Reporter do
  @moduledoc false
  # The limits, counts and health of an instance on request, and its counts as events at every interval.
  #
  # The counts that were reported are a row of the instance's table, so that a crash of this process repeats none.

  use GenServer

  alias RateLimiter.{Instance, Redis, Store, Telemetry}
  alias RateLimiter.Core.Limit
  alias RateLimiter.Instance.{Checkpoint, Clock, Shutdown}
  alias RateLimiter.Limits.Shared

  @reported {:reported, :counts}
  @zero %{keys: 0, request_ids: 0, memory: 0, checks: 0, denials: 0, overflowed: 0, swept: 0}

  @doc false
  @spec start_link({Instance.t(), pos_integer | :infinity}) :: GenServer.on_start() | :ignore
  def start_link({%Instance{}, :infinity}), do: :ignore

  def start_link({%Instance{}, interval} = argument) when is_integer(interval),
    do: GenServer.start_link(__MODULE__, argument)

  @doc "Returns the limiters with their limits, as configured and as they are now."
  @spec limiters(Instance.t()) :: [{atom, map}]
  def limiters(%Instance{store: store} = instance) do
    for {name, handle, config} <- Instance.all(instance), plan = Store.plan(handle) do
      windows =
        for {window, limit} <- config.windows, do: {window, window(limit, plan.maxima[window])}

      {name, Map.merge(%{windows: windows, scale: plan.scale}, options(config, store))}
    end
  end

  defp options(config, :local), do: Map.take(config, [:events, :max_keys, :threshold])

  defp options(config, {_kind, _store}),
    do: Map.take(config, [:events, :max_keys, :threshold, :on_outage])

  defp window(%Limit{} = limit, max) do
    limit
    |> Limit.filled!()
    |> Map.from_struct()
    |> Map.put(:max, max)
    |> Map.reject(fn {key, value} -> is_nil(value) or {key, value} == {:enforce, true} end)
  end

  @doc "Returns the counts of each limiter and of all together."
  @spec stats(Instance.t()) :: map
  def stats(%Instance{} = instance) do
    limiters =
      for {name, handle, _config} <- Instance.all(instance),
          stats = Store.stats(handle),
          into: %{},
          do: {name, stats}

    limiters
    |> Map.values()
    |> Enum.reduce(@zero, &add/2)
    |> Map.merge(%{store: :local, limiters: limiters})
    |> Map.merge(redis(instance))
    |> Map.merge(checkpoint(instance))
  end

  # A count that only limiters in Redis have is in the totals of such an instance only.
  defp add(stats, totals) do
    stats
    |> Map.filter(fn {_key, value} -> is_integer(value) end)
    |> Map.merge(totals, fn _key, one, other -> one + other end)
  end

  defp checkpoint(instance) do
    status = Checkpoint.status(instance)
    if status, do: %{checkpoint: status}, else: %{}
  end

  defp redis(%{store: :local}), do: %{}

  defp redis(%{store: {:store, store}}) do
    status = Store.Client.status(store)
    %{store: :store, client: status, breaker: status && status.breaker}
  end

  defp redis(%{store: {:redis, store}} = instance) do
    status = Redis.Client.status(store)
    %{store: :redis, redis: status, breaker: breaker(status), limits: Shared.stats(instance)}
  end

  # Of several servers the worst state.
  defp breaker(nil), do: nil

  defp breaker(%{servers: servers}) do
    states = Enum.map(servers, & &1.breaker)
    Enum.find([:opened, :half_open, :closed], &(&1 in states))
  end

  @doc "Returns whether the instance works without restrictions."
  @spec health(Instance.t() | nil) :: RateLimiter.health()
  def health(nil), do: {:error, :not_running}

  def health(%Instance{} = instance),
    do: if(Shutdown.stopping?(instance), do: {:error, :stopping}, else: working(instance))

  defp working(%Instance{store: store} = instance) do
    # Reasons that stop calls come before reasons that may lose their counts.
    with {:ok, %{servers: servers} = status} <- status(store),
         :ok <- servers |> Enum.reject(&Redis.Client.healthy?/1) |> degraded(:redis),
         :ok <- instance |> full() |> degraded(:full),
         :ok <- heartbeat(status),
         :ok <- servers |> Enum.filter(& &1.evicts) |> degraded(:evicts),
         :ok <- checkpointed(Checkpoint.status(instance)),
         do: instance |> Clock.moved_ms() |> moved()
  end

  defp checkpointed(%{problem: words}) when words != nil, do: {:degraded, {:checkpoint, words}}
  defp checkpointed(_status), do: :ok

  defp moved(0), do: :ok
  defp moved(ms), do: {:degraded, {:clock, ms}}

  defp heartbeat(%{heartbeat: reason}) when reason != nil, do: {:degraded, {:heartbeat, reason}}
  defp heartbeat(_status), do: :ok

  defp status(:local), do: {:ok, %{servers: []}}

  defp status({:store, store}) do
    case Store.Client.status(store) do
      nil -> {:error, :not_running}
      %{breaker: :closed, workers: workers} when workers > 0 -> {:ok, %{servers: []}}
      %{problem: problem} -> {:degraded, {:store, problem || "no worker has started yet"}}
    end
  end

  defp status({:redis, store}) do
    case Redis.Client.status(store) do
      nil ->
        {:error, :not_running}

      %{servers: [], problem: problem} ->
        {:degraded, {:redis, problem || "no server is known yet"}}

      status ->
        {:ok, status}
    end
  end

  defp full(instance),
    do: for({name, handle, _config} <- Instance.all(instance), Store.full?(handle), do: name)

  defp degraded([], _reason), do: :ok
  defp degraded(affected, reason), do: {:degraded, {reason, affected}}

  @impl true
  def init({instance, interval}) do
    schedule(interval)
    {:ok, {instance, interval}}
  end

  @impl true
  def handle_info(:report, {instance, interval} = state) do
    schedule(interval)
    report(instance)
    {:noreply, state}
  end

  defp report(%Instance{name: name, store: store} = instance) do
    before = reported(instance)

    now =
      for {limiter, handle, _} <- Instance.all(instance),
          do: {limiter, handle, Store.stats(handle)}

    counts = for {_limiter, handle, %{} = counts} <- now, into: %{}, do: {handle, counts}
    # First: a count must not be reported twice, even if a handler ends this process.
    :ets.insert(instance.table, {@reported, counts})

    for {limiter, handle, %{} = counts} <- now do
      metadata = %{instance: name, store: kind(store), limiter: limiter}
      # A limiter that was removed and added again has another handle, and counts from zero.
      Telemetry.Stats.emit(metadata, counts, before[handle])
    end
  end

  defp reported(%Instance{table: table}) do
    case :ets.lookup(table, @reported) do
      [{@reported, counts}] -> counts
      [] -> %{}
    end
  end

  defp kind(:local), do: :local
  defp kind({kind, _store}), do: kind

  defp schedule(interval), do: Process.send_after(self(), :report, interval)
end
