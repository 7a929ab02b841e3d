defmodule RateLimiter.Instance.Writer do
  @moduledoc false
  # Changes the limiters of a running instance, one change after the other.
  #
  # It has no state of its own: the table belongs to the supervisor, so a crash here loses no count.

  use GenServer

  alias RateLimiter.{Instance, Redis, Store, Telemetry}
  alias RateLimiter.Core.{Errors, Limit, Options}
  alias RateLimiter.Instance.{Config, Registry}
  alias RateLimiter.Store.Callers

  @type change ::
          {:add, atom, Config.limiter()} | {:remove, atom} | {:update, atom, atom, term}

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{} = instance),
    do: GenServer.start_link(__MODULE__, instance, name: server(instance))

  @doc "Makes a change, or raises its error in the caller."
  @spec change!(Instance.t(), change) :: :ok
  def change!(%Instance{} = instance, change) do
    with {:error, exception} <- Registry.call!(instance, server(instance), change),
         do: raise(exception)
  end

  defp server(%Instance{writer: nil, table: table}), do: Registry.via({:writer, table})
  defp server(%Instance{writer: pid}), do: pid

  @doc "Makes a change in the calling process."
  @spec perform(Instance.t(), change) :: :ok | {:error, Exception.t()}
  def perform(instance, change) do
    case change do
      {:add, limiter, config} -> add!(instance, limiter, config)
      {:remove, limiter} -> remove!(instance, limiter)
      {:update, limiter, window, changes} -> update!(instance, limiter, window, changes)
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
    {:ok, handle, owner} = new_limiter(instance, limiter, config)
    Callers.start(handle, config, instance.clock)

    # The row is inserted before the name is bound, so that the holder of a bound name is always found.
    :ets.insert(table, {limiter, handle, owner, config})

    with {:taken, holder} <- bind(instance, limiter, owner) do
      drop(table, limiter)
      raise Errors.taken(limiter, holder)
    end
  end

  @doc "Drops every limiter, and the Redis client."
  @spec clear(Instance.t()) :: :ok
  def clear(%Instance{table: table} = instance) do
    instance |> Instance.names() |> Enum.each(&drop(table, &1))
    for {_key, owner} <- :ets.take(table, {:redis, :owner}), do: Redis.Client.stop(owner)
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

  # A kill may have interrupted a change. It is undone: a limiter without its name, and limits that the table does not have.
  defp repair(%Instance{table: table} = instance) do
    for {limiter, handle, %{windows: windows}} <- Instance.all(instance) do
      if Store.handle(limiter) == handle,
        do: Enum.each(windows, &Store.update_limit(handle, &1)),
        else: drop(table, limiter)
    end
  end

  defp remove!(%Instance{table: table}, limiter),
    do: drop(table, limiter) || raise(Registry.unknown_limiter(limiter))

  defp update!(%Instance{table: table} = instance, limiter, window, changes) do
    {handle, config} =
      Instance.fetch(instance, limiter) || raise(Registry.unknown_limiter(limiter))

    path = Config.path!(limiter, [:windows, window])
    old = window!(config, limiter, window)
    limit = Limit.change!(old, changes, path)

    with {:error, reason} <- Store.update_limit(handle, {window, limit}),
         do: Options.refused!(path, reason)

    windows = Keyword.replace!(config.windows, window, limit)
    :ets.update_element(table, limiter, {4, %{config | windows: windows}})
    Telemetry.limit_changed(instance.name, limiter, window, {old, limit})
  end

  defp window!(%{windows: windows}, limiter, window) do
    case List.keyfind(windows, window, 0) do
      {^window, limit} -> limit
      nil -> raise Errors.unknown_window(window, limiter, Keyword.keys(windows))
    end
  end

  defp new_limiter(%{store: :local, clock: clock}, _name, config),
    do: Store.new_limiter(config, clock)

  defp new_limiter(%{store: {:redis, store}}, name, config),
    do: Store.new_shared_limiter(config, name, store)

  defp drop(table, limiter) do
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
