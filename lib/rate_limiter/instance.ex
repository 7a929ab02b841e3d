defmodule RateLimiter.Instance do
  @moduledoc false
  # An instance: the table of its limiters, and what they share.
  #
  # A row of the table keeps a limiter alive: a native limiter lives as long as its owner, a term in the row. When the
  # process that owns the table exits, for whatever reason, the runtime frees the limiters and their names. No other
  # process may keep an owner, so an owner is read only to drop it. The owner of the client of Redis, or of another store, is in the same table.
  # The plans of the limiters are in a second one, see `RateLimiter.Instance.Plans`.

  @enforce_keys [:name, :table]
  defstruct [
    :name,
    :table,
    :plans,
    writer: nil,
    subsystems: nil,
    clock: :monotonic,
    store: :local,
    utc: nil,
    log: true,
    ready?: false
  ]

  # A test has a writer and a clock of its own. Otherwise the writer is registered under the table and not under the
  # name: after a kill it may outlive the table by a moment, while the next instance of this name starts.
  @type t :: %__MODULE__{
          name: term,
          table: :ets.tid(),
          plans: :ets.tid() | nil,
          writer: pid | nil,
          subsystems: RateLimiter.VSM.Table.t() | nil,
          clock: :monotonic | RateLimiter.Core.Native.clock(),
          store: :local | {:redis | :store, RateLimiter.Core.Native.store()},
          utc: :atomics.atomics_ref() | nil,
          log: boolean,
          ready?: boolean
        }
  @type limiter :: {RateLimiter.Core.Native.handle(), RateLimiter.Instance.Config.limiter()}

  # Not the alias, so that this module does not depend on the public API.
  @default_name :"Elixir.RateLimiter"

  @doc "Returns the default name of an instance."
  @spec default_name() :: atom
  def default_name, do: @default_name

  @doc "Returns an instance without limiters. The calling process owns its table."
  @spec new(keyword) :: t
  def new(fields) do
    table = :ets.new(__MODULE__, [:ordered_set, :public, read_concurrency: true])
    plans = :ets.new(:rate_limiter_plans, [:ordered_set, :public, read_concurrency: true])
    struct!(%__MODULE__{name: nil, table: table, plans: plans}, fields)
  end

  @doc "Returns the handle and the current configuration of a limiter."
  @spec fetch(t, atom) :: limiter | nil
  def fetch(%__MODULE__{table: table}, limiter) do
    {:ets.lookup_element(table, limiter, 2), :ets.lookup_element(table, limiter, 4)}
  rescue
    ArgumentError -> nil
  end

  @doc "Returns the name, handle and configuration of each limiter, ordered by name."
  @spec all(t) :: [
          {atom, RateLimiter.Core.Native.handle(), RateLimiter.Instance.Config.limiter()}
        ]
  def all(%__MODULE__{table: table}) do
    :ets.select(table, [{{:"$1", :"$2", :_, :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])
  rescue
    # The owner of the table has just exited.
    ArgumentError -> []
  end

  @doc "Returns the names of the limiters."
  @spec names(t) :: [atom]
  def names(instance), do: for({name, _handle, _config} <- all(instance), do: name)
end
