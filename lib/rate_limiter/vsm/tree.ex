defmodule RateLimiter.VSM.Tree do
  @moduledoc false
  # The subsystems of one instance: how they are created, found by name, and related to each other.

  alias RateLimiter.Agreement
  alias RateLimiter.Core.Options
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Signals.{Bypass, Ledger}
  alias RateLimiter.VSM.{Config, Gate, Subsystem, Table}

  @doc "Creates the subsystems in a new table, which the calling process owns."
  @spec new(
          Config.t() | nil,
          term,
          :monotonic | RateLimiter.Core.Native.clock(),
          Agreement.t() | nil
        ) :: Table.t() | nil
  def new(config, instance, clock, agreement \\ nil)
  def new(nil, _instance, _clock, _agreement), do: nil

  def new(config, instance, clock, agreement) do
    table = :ets.new(__MODULE__, [:set, :public, read_concurrency: true])
    rows = [instance: instance, clock: clock, config: config, agreement: agreement]
    :ets.insert(table, [{:signals, Ledger.new()} | rows])
    for {name, _config} <- config.subsystems, do: add(table, name, config, instance, clock)
    Bypass.open(table, config, clock)
    table
  end

  @doc "Returns the subsystems of an instance. Raises `ArgumentError` if it is not running or has no subsystems."
  @spec fetch!(term) :: Table.t()
  def fetch!(instance) do
    # A match on `nil`: dialyzer takes a comparison of the opaque table for a defect.
    case Registry.subsystems!(instance) do
      nil -> raise ArgumentError, no_subsystems(instance)
      table -> table
    end
  end

  @doc "Returns a subsystem of an instance. The `ArgumentError` for an unknown name lists the known ones."
  @spec subsystem!(term, term) :: Subsystem.t()
  def subsystem!(instance, name) do
    table = fetch!(instance)
    Table.subsystem(table, name) || raise ArgumentError, unknown(table, name, instance)
  end

  @doc "Returns the subsystems in the order in which they were configured."
  @spec all(Table.t()) :: [{Subsystem.t(), Config.subsystem()}]
  def all(table) do
    for {name, config} <- Table.config(table).subsystems,
        subsystem = Table.subsystem(table, name),
        do: {subsystem, config}
  end

  @spec parent(Table.t(), atom) :: Subsystem.t() | nil
  def parent(table, name) do
    with parent when parent != nil <- Table.config(table, name).parent,
         do: Table.subsystem(table, parent)
  end

  @spec children(Table.t(), atom) :: [{Subsystem.t(), Config.subsystem()}]
  def children(table, name),
    do: for({child, %{parent: ^name} = config} <- all(table), do: {child, config})

  # A parent that is configured after its child was added with the child.
  defp add(table, name, config, instance, clock) do
    unless :ets.member(table, {:subsystem, name}) do
      %{parent: parent, limit: limit, events: events} = Keyword.fetch!(config.subsystems, name)
      shared_gate = shared_gate(table, parent, config, instance, clock)
      {limiter, owner} = Gate.new_limiter(limit, events, clock)

      subsystem = %Subsystem{
        instance: instance,
        name: name,
        limiter: limiter,
        gate: Gate.new(clock, shared_gate),
        cells: Subsystem.new_cells(),
        table: table,
        events: events
      }

      :ets.insert(table, [{{:owner, name}, owner}, {{:subsystem, name}, subsystem}])
    end
  end

  # Work of a subsystem that shares its parent's capacity counts as the parent's work, too.
  defp shared_gate(_table, nil, _config, _instance, _clock), do: nil

  defp shared_gate(table, parent, config, instance, clock) do
    if Keyword.fetch!(config.subsystems, parent).shared do
      add(table, parent, config, instance, clock)
      Table.subsystem(table, parent).gate
    end
  end

  defp no_subsystems(instance) do
    "the instance #{Options.show(instance)} has no subsystems. Give it the option vsm: true, or vsm: [subsystems: [...]]"
  end

  defp unknown(table, name, instance) do
    known = Keyword.keys(Table.config(table).subsystems)

    near = if is_atom(name) and name != nil, do: Options.nearest(name, known)
    hint = if near == nil, do: ".", else: ", did you mean #{inspect(near)}?"

    "unknown subsystem #{Options.show(name)} of #{Options.show(instance)}#{hint} Known subsystems: #{Options.list(known)}"
  end
end
