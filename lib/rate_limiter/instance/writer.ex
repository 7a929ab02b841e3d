defmodule RateLimiter.Instance.Writer do
  @moduledoc false
  # Changes the limiters of a running instance, one change after the other.
  #
  # It has no state of its own: the table belongs to the supervisor, so a crash here loses no count.

  use GenServer

  alias RateLimiter.{Instance, Redis, Store, Telemetry}
  alias RateLimiter.Core.{Errors, Limit, Numbers, Options, Plan}
  alias RateLimiter.Instance.{Config, Plans, Registry}
  alias RateLimiter.Limits.{Change, History, Shared}
  alias RateLimiter.Store.Callers

  @type change ::
          {:add, atom, Config.limiter()}
          | {:remove, atom}
          | {:update, atom, atom, term}
          | {:apply, limiters :: term, how}
          | {:put_plan, atom, Plan.name(), term}
          | {:remove_plan, atom, Plan.name()}

  @typedoc "`max_denied` is the share of ids that a change may deny, `nil` for any."
  @type how :: %{by: String.t() | nil, dry_run: boolean, max_denied: number | nil}

  # The steps of a change that is being made. After a kill of this process, its successor makes all of them.
  @pending {:limits, :pending}

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{} = instance),
    do: GenServer.start_link(__MODULE__, instance, name: server(instance))

  @doc "Makes a change, or raises its error in the caller. `{:apply, _, _}` returns what it has changed, or why it has not."
  @spec change!(Instance.t(), change) ::
          :ok | {:ok, RateLimiter.Limits.diff()} | {:invalid, [String.t(), ...]}
  def change!(%Instance{} = instance, change) do
    with {:error, exception} <- Registry.call!(instance, server(instance), change),
         do: raise(exception)
  end

  defp server(%Instance{writer: nil, table: table}), do: Registry.via({:writer, table})
  defp server(%Instance{writer: pid}), do: pid

  @doc "Makes a change in the calling process."
  @spec perform(Instance.t(), change) ::
          :ok
          | {:ok, RateLimiter.Limits.diff()}
          | {:invalid, [String.t(), ...]}
          | {:error, Exception.t()}
  def perform(instance, change) do
    case change do
      {:add, limiter, config} -> add_alone!(instance, limiter, config)
      {:remove, limiter} -> remove!(instance, limiter)
      {:update, limiter, window, changes} -> update!(instance, limiter, window, changes)
      {:apply, limiters, how} -> apply!(instance, limiters, how)
      {:put_plan, limiter, name, changes} -> put_plan!(instance, limiter, name, changes)
      {:remove_plan, limiter, name} -> remove_plan!(instance, limiter, name)
    end
  rescue
    error in ArgumentError ->
      # After a kill of the supervisor the table is gone, and the error is that of ETS.
      if :ets.info(instance.table, :size) == :undefined,
        do: {:error, Errors.not_running(instance.name)},
        else: {:error, error}
  end

  @doc "Creates a limiter in the calling process and binds its name."
  @spec add!(Instance.t(), atom, Config.limiter()) :: :ok
  def add!(%Instance{table: table} = instance, limiter, config) do
    if :ets.member(table, limiter), do: raise(Errors.taken(limiter, instance.name))
    plans = Map.get(config, :plans, [])
    {:ok, handle, owner} = new_limiter(instance, limiter, config)
    Callers.start(handle, config, instance.clock)
    :ok = Store.put_plans(handle, plans)
    Plans.put(instance, limiter, plans)

    # The row is inserted before the name is bound, so that the holder of a bound name is always found.
    :ets.insert(table, {limiter, handle, owner, config})

    with {:taken, holder} <- bind(instance, limiter, owner) do
      drop(instance, limiter)
      raise Errors.taken(limiter, holder)
    end
  end

  @doc "Drops every limiter, and the client of a store that nodes share."
  @spec clear(Instance.t()) :: :ok
  def clear(%Instance{table: table} = instance) do
    instance |> Instance.names() |> Enum.each(&drop(instance, &1))
    for {_key, owner} <- :ets.take(table, {:redis, :owner}), do: Redis.Client.stop(owner)

    for {_key, {owner, module, state}} <- :ets.take(table, {:store, :owner}),
        do: Store.Client.stop(owner, module, state)

    :ok
  end

  @impl true
  def init(instance) do
    Process.flag(:trap_exit, true)
    repair(instance)
    {:ok, instance}
  end

  # Hibernation collects garbage, so that no owner of a limiter stays on this heap and outlives the table.
  @impl true
  def handle_call(change, _from, instance),
    do: {:reply, perform(instance, change), instance, :hibernate}

  # An orderly stop, the only one with reason `:shutdown`, drops the limiters before it returns. Otherwise they stay, or
  # the runtime frees them with the table, which may be a few milliseconds later.
  @impl true
  def terminate(:shutdown, instance), do: clear(instance)
  def terminate(_reason, _instance), do: :ok

  # A kill may have interrupted a change. What had begun with a row of its steps is completed. A limiter without its name,
  # and limits that the table does not have, are undone.
  defp repair(%Instance{table: table} = instance) do
    for {limiter, handle, _config} <- Instance.all(instance),
        Store.handle(limiter) != handle,
        do: drop(instance, limiter)

    with [{@pending, steps, by}] <- :ets.lookup(table, @pending) do
      make!(instance, Enum.reject(steps, &added?(table, &1)), by)
    end

    for {limiter, handle, %{windows: windows}} <- Instance.all(instance) do
      Store.update_limits(handle, windows)
      Store.put_plans(handle, Plans.all(instance, limiter))
    end
  end

  defp added?(table, step), do: match?({:add, _, _}, step) and :ets.member(table, elem(step, 1))

  defp add_alone!(instance, limiter, config) do
    if added?(instance.table, {:add, limiter, config}),
      do: raise(Errors.taken(limiter, instance.name))

    make!(instance, [{:add, limiter, config}], nil)
  end

  defp remove!(instance, limiter) do
    {_handle, config} = fetch!(instance, limiter)
    :ok = drop(instance, limiter)
    History.add(instance, nil, [{:removed, [limiter], Change.windows(config)}])
  end

  # The rows are written first: after a kill in between, `repair/1` completes what they say.
  defp put_plan!(instance, limiter, name, changes) do
    {handle, config} = fetch!(instance, limiter)
    plan = Plan.new!(changes, config.windows, Config.path!(limiter, [:plans, name]))
    Config.check_plan!(plan, config, instance.store, Config.path!(limiter, [:plans, name]))
    Plans.put(instance, limiter, [{name, plan}])
    Store.put_plans(handle, [{name, plan}])
  end

  defp remove_plan!(instance, limiter, name) do
    {handle, _config} = fetch!(instance, limiter)

    unless Store.remove_plan(handle, name) == true,
      do: raise(Errors.unknown_plan(name, limiter, Plans.some(limiter)))

    Plans.delete(instance, limiter, name)
    :ok
  end

  defp update!(instance, limiter, window, changes) do
    {_handle, config} = fetch!(instance, limiter)
    path = Config.path!(limiter, [:windows, window])
    old = window!(config, limiter, window)
    new = Limit.change!(old, changes, path)

    :ok =
      Config.check_store!(%{config | windows: [{window, new}]}, instance.store, [
        :limiters,
        limiter
      ])

    make!(instance, [{:update, limiter, [{window, old, new}]}], nil)
  end

  defp apply!(%Instance{} = instance, limiters, %{by: by, dry_run: dry?} = how) do
    current = for {name, _handle, config} <- Instance.all(instance), do: {name, config}

    with {:ok, steps} <- Change.steps(limiters, current, instance.store),
         [] <- Enum.flat_map(steps, &refused(instance, &1, how.max_denied)) do
      unless dry?, do: make!(instance, steps, by)
      {:ok, Change.diff(steps)}
    else
      {:error, reasons} -> {:invalid, reasons}
      reasons -> {:invalid, reasons}
    end
  end

  defp refused(_instance, {:add, name, _config}, _max) do
    case Registry.holder(name) do
      nil -> []
      %Instance{name: holder} -> [Exception.message(Errors.taken(name, holder))]
    end
  end

  defp refused(_instance, {:update, _name, _windows}, nil), do: []

  defp refused(instance, {:update, name, windows}, max) do
    {handle, _config} = fetch!(instance, name)

    case Store.preview(handle, for({window, _from, to} <- windows, do: {window, to})) do
      {:error, reason} ->
        ["#{Options.format([name])}: #{reason}"]

      {ids, denied} when denied > max * ids ->
        [
          "#{Options.format([name])}: expected limits that deny at most #{Numbers.percent(max)} of the ids that are " <>
            "admitted now, got: #{Numbers.percent(denied, ids)} (#{denied} of #{ids}). Pass force: true to make this change"
        ]

      _few ->
        []
    end
  end

  # All steps, or none. Nothing but the addition of a limiter can fail: its name may just have been taken.
  defp make!(%Instance{table: table} = instance, steps, by) do
    :ets.insert(table, {@pending, steps, by})
    Enum.each(steps, &step!(instance, &1))
    History.add(instance, by, Change.diff(steps))
    :ets.delete(table, @pending)
    report(instance, steps, by)
  rescue
    error in ArgumentError ->
      :ets.delete(table, @pending)
      for {:add, name, _config} <- steps, do: drop(instance, name)
      reraise error, __STACKTRACE__
  end

  defp step!(%Instance{table: table} = instance, {:update, limiter, windows}) do
    {handle, config} = fetch!(instance, limiter)
    :ok = Store.update_limits(handle, for({window, _from, to} <- windows, do: {window, to}))
    :ets.update_element(table, limiter, {4, Change.update(config, windows)})
  end

  defp step!(instance, {:add, limiter, config}), do: add!(instance, limiter, config)

  defp report(instance, steps, by) do
    for {:update, limiter, windows} <- steps,
        {window, from, to} <- windows,
        do: Telemetry.limit_changed(instance.name, limiter, window, {from, to}, by)

    :ok
  end

  defp fetch!(instance, limiter),
    do: Instance.fetch(instance, limiter) || raise(Registry.unknown_limiter(limiter))

  defp window!(%{windows: windows}, limiter, window) do
    case List.keyfind(windows, window, 0) do
      {^window, limit} -> limit
      nil -> raise Errors.unknown_window(window, limiter, Keyword.keys(windows))
    end
  end

  defp new_limiter(%{store: :local, clock: clock}, _name, config),
    do: Store.new_limiter(config, clock)

  # Before it has its name, so that its first call already counts where all nodes do.
  defp new_limiter(%{store: {_kind, store}, table: table}, name, config) do
    with {:ok, handle, _owner} = made <- Store.new_shared_limiter(config, name, store) do
      Store.set_generation(handle, Shared.resets(table, name))
      made
    end
  end

  defp drop(%Instance{table: table} = instance, limiter) do
    Plans.clear(instance, limiter)

    case :ets.take(table, limiter) do
      [{^limiter, _handle, owner, _config}] -> Store.drop(owner)
      [] -> nil
    end
  end

  # The limiters of a test share the name with those of other tests and of the application.
  defp bind(%{clock: clock}, limiter, _owner) when clock != :monotonic,
    do: Store.set_test_owned(limiter, true)

  defp bind(instance, limiter, owner) do
    with {:error, :taken} <- Store.bind(limiter, owner) do
      handle = Store.handle(limiter)

      case Enum.find(Registry.instances(), &holds?(&1, limiter, handle)) do
        %Instance{name: holder} ->
          {:taken, holder}

        # The instance that had the name has just stopped, and the runtime has yet to free the name.
        nil ->
          if handle, do: Store.unbind(limiter, handle)
          bind(instance, limiter, owner)
      end
    end
  end

  defp holds?(instance, limiter, handle),
    do: match?({^handle, _config}, Instance.fetch(instance, limiter))
end
