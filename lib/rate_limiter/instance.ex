defmodule RateLimiter.Instance do
  @moduledoc false
  # The limiters of an instance: a table whose rows keep them alive.
  #
  # A native limiter lives as long as its owner, a term that the table holds: whoever owns the table
  # holds the counts, and when that process ends, however it ends, the runtime frees them and their names.
  # No other process may keep an owner, so nothing here reads one but to drop it.
  #
  # The way to Redis lies in the same table, and ends with it, too.

  alias RateLimiter.{Config, Redis, Store}
  alias RateLimiter.Core.{Errors, Limit, Options}
  alias RateLimiter.Instance.Registry

  @enforce_keys [:instance, :keeper, :table]
  defstruct [
    :instance,
    :keeper,
    :table,
    space: nil,
    clock: :monotonic,
    store: :local,
    ready?: false
  ]

  @type store :: :local | {:redis, RateLimiter.Core.Native.store()}
  @type t :: %__MODULE__{
          instance: term,
          keeper: GenServer.server(),
          table: :ets.tid(),
          space: RateLimiter.VSM.Table.t() | nil,
          clock: :monotonic | RateLimiter.Core.Native.clock(),
          store: store,
          ready?: boolean
        }

  @doc "An empty table, owned by the calling process. With a clock of its own, it is a test's."
  @spec new(keyword) :: t
  def new(fields) do
    table = :ets.new(__MODULE__, [:ordered_set, :public, read_concurrency: true])

    # A keeper is known by its table, not by the instance's name: it may outlive a kill by a moment, in which
    # the next instance of the name starts.
    struct!(
      %__MODULE__{instance: nil, keeper: Registry.via({:keeper, table}), table: table},
      fields
    )
  end

  @doc "The same, with a way to the store."
  @spec connect!(t, Config.store()) :: t
  def connect!(%__MODULE__{} = limiters, :local), do: limiters

  def connect!(%__MODULE__{table: table} = limiters, {:redis, config}) do
    tls = Redis.Certificates.open!(table, config)

    case Redis.Client.start(config, tls, Redis.Credentials.open(table, config)) do
      {:ok, store, owner} ->
        :ets.insert(table, {{:redis, :owner}, owner})
        %{limiters | store: {:redis, store}}

      {:error, reason} ->
        Options.misuse!([:store], reason)
    end
  end

  @doc "Makes a limiter and gives it its name."
  @spec add!(t, atom, Config.limiter()) :: :ok
  def add!(%__MODULE__{} = limiters, name, config) do
    if :ets.member(limiters.table, name), do: raise(Errors.taken(name, limiters.instance))
    {:ok, handle, owner} = make(limiters, name, config)

    # The row comes before the name: who finds the name taken finds its holder, too.
    :ets.insert(limiters.table, {name, handle, owner, config})

    with {:taken, instance} <- claim(limiters, name, owner) do
      drop(limiters, name)
      raise Errors.taken(name, instance)
    end
  end

  @doc "Forgets a limiter with all that it counted."
  @spec remove!(t, atom) :: :ok
  def remove!(%__MODULE__{} = limiters, name) do
    unless drop(limiters, name), do: raise(Errors.unknown_limiter(name))
    :ok
  end

  @doc "Forgets every limiter, and the way to the store."
  @spec clear(t) :: :ok
  def clear(%__MODULE__{table: table} = limiters) do
    limiters |> names() |> Enum.each(&drop(limiters, &1))
    for {_key, owner} <- :ets.take(table, {:redis, :owner}), do: Redis.Client.stop(owner)
    :ok
  end

  @doc "Changes a window's limit, and keeps what was used."
  @spec update!(t, atom, atom, term) :: :ok
  def update!(%__MODULE__{} = limiters, name, window, changes) do
    {handle, config} = fetch(limiters, name) || raise Errors.unknown_limiter(name)

    path = Config.path!(name, [:windows, window])
    limit = config |> window!(name, window) |> Limit.change!(changes, path)

    with {:error, reason} <- Store.update_limit(handle, {window, limit}) do
      Options.refused!(path, reason)
    end

    windows = Keyword.replace!(config.windows, window, limit)
    :ets.update_element(limiters.table, name, {4, %{config | windows: windows}})
    :ok
  end

  @doc "The handle of a limiter, and its configuration as it is now."
  @spec fetch(t, atom) :: {RateLimiter.Core.Native.handle(), Config.limiter()} | nil
  def fetch(%{table: table}, name) do
    {:ets.lookup_element(table, name, 2), :ets.lookup_element(table, name, 4)}
  rescue
    ArgumentError -> nil
  end

  @doc "Each limiter's name, handle and configuration, ordered by name."
  @spec all(t) :: [{atom, RateLimiter.Core.Native.handle(), Config.limiter()}]
  def all(%{table: table}) do
    :ets.select(table, [{{:"$1", :"$2", :_, :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])
  rescue
    # Its owner has just taken the table along.
    ArgumentError -> []
  end

  @doc "The names of the limiters."
  @spec names(t) :: [atom]
  def names(limiters), do: for({name, _handle, _config} <- all(limiters), do: name)

  defp make(%{store: :local, clock: clock}, _name, config), do: Store.new_limiter(config, clock)

  defp make(%{store: {:redis, store}}, name, config),
    do: Redis.Client.new_limiter(config, name, store)

  defp window!(%{windows: windows}, limiter, window) do
    case List.keyfind(windows, window, 0) do
      {^window, limit} -> limit
      nil -> raise Errors.unknown_window(window, limiter, Keyword.keys(windows))
    end
  end

  defp drop(%{table: table}, name) do
    case :ets.take(table, name) do
      [{^name, _handle, owner, _config}] -> Store.drop(owner)
      [] -> nil
    end
  end

  # A test's limiters share the name with all other tests' and with production's.
  defp claim(%{clock: clock}, name, _owner) when clock != :monotonic,
    do: Store.set_test_owned(name, true)

  defp claim(limiters, name, owner) do
    with {:error, :taken} <- Store.bind(name, owner) do
      holder = Store.handle(name)

      case Enum.find(Registry.instances(), &holds?(&1, name, holder)) do
        %{instance: instance} -> {:taken, instance}
        nil -> inherit(limiters, name, holder, owner)
      end
    end
  end

  # The instance that had the name has just ended, and the runtime has yet to free it.
  defp inherit(limiters, name, holder, owner) do
    if holder, do: Store.unbind(name, holder)
    claim(limiters, name, owner)
  end

  defp holds?(limiters, name, handle), do: match?({^handle, _config}, fetch(limiters, name))
end
