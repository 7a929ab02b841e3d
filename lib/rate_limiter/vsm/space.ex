defmodule RateLimiter.VSM.Space do
  @moduledoc false
  # The subsystems of one instance: a namespace of its own, in a table that belongs to the instance's supervisor.
  #
  # Limiters, gates and scales live as long as the table, whatever becomes of the processes that write them. What a
  # controller must not forget is a row here, so that it resumes after a crash.

  alias RateLimiter.{Agreement, Store}
  alias RateLimiter.Core.{Errors, Options}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.VSM.{Config, Subsystem}
  alias RateLimiter.VSM.Engine, as: Gates

  @type t :: :ets.tid()

  @doc "The subsystems of these options, owned by the calling process."
  @spec new(
          Config.t() | nil,
          term,
          :monotonic | RateLimiter.Core.Native.clock(),
          Agreement.t() | nil
        ) ::
          t | nil
  def new(config, instance, clock, agreement \\ nil)
  def new(nil, _instance, _clock, _agreement), do: nil

  def new(%Config{} = config, instance, clock, agreement) do
    table = :ets.new(__MODULE__, [:set, :public, read_concurrency: true])
    signals = :ets.new(RateLimiter.Algedonic, [:ordered_set, :public])

    :ets.insert(table, instance: instance, clock: clock, config: config, signals: signals)
    :ets.insert(table, agreement: agreement)
    for {name, _own} <- config.subsystems, do: add(table, name, config, instance, clock)
    add_emergency(table, config, clock)
    table
  end

  @doc "The subsystems of the instance of this name, or an `ArgumentError`."
  @spec fetch!(term) :: t
  def fetch!(instance) do
    case Registry.space(instance) do
      {:ok, table} when table != nil -> table
      {:ok, nil} -> raise ArgumentError, no_subsystems(instance)
      :error -> raise Errors.unknown_instance(instance)
    end
  end

  @doc "A subsystem of the instance of this name, or an `ArgumentError` that lists those that there are."
  @spec subsystem!(term, term) :: Subsystem.t()
  def subsystem!(instance, name) do
    table = fetch!(instance)
    subsystem(table, name) || raise ArgumentError, unknown(table, name, instance)
  end

  @spec subsystem(t, term) :: Subsystem.t() | nil
  def subsystem(table, name), do: get(table, {:subsystem, name})

  @doc "The subsystems in the order in which they were given."
  @spec all(t) :: [{Subsystem.t(), Config.subsystem()}]
  def all(table) do
    for {name, own} <- config(table).subsystems,
        subsystem = subsystem(table, name),
        do: {subsystem, own}
  end

  @spec config(t) :: Config.t()
  def config(table), do: get(table, :config) || raise(Errors.ended())

  @spec config(t, atom) :: Config.subsystem()
  def config(table, name), do: Keyword.fetch!(config(table).subsystems, name)

  @doc "The subsystem that this one is part of."
  @spec parent(t, atom) :: Subsystem.t() | nil
  def parent(table, name) do
    with parent when parent != nil <- config(table, name).parent, do: subsystem(table, parent)
  end

  @doc "The subsystem and all that it is part of, the nearest first."
  @spec line(t, Subsystem.t()) :: [Subsystem.t()]
  def line(table, %Subsystem{name: name} = subsystem) do
    case parent(table, name) do
      nil -> [subsystem]
      parent -> [subsystem | line(table, parent)]
    end
  end

  @doc "Those directly below a subsystem."
  @spec children(t, atom) :: [{Subsystem.t(), Config.subsystem()}]
  def children(table, name),
    do: for({child, %{parent: ^name} = own} <- all(table), do: {child, own})

  @doc "A subsystem and all below it, any number of levels down."
  @spec tree(t, Subsystem.t()) :: [Subsystem.t()]
  def tree(table, %Subsystem{name: name} = subsystem) do
    [
      subsystem
      | for({child, _own} <- children(table, name), below <- tree(table, child), do: below)
    ]
  end

  @doc "The limiters of emergency calls: of all sources together, and of one source."
  @spec emergency(t) :: %{
          all: RateLimiter.Core.Native.handle(),
          source: RateLimiter.Core.Native.handle()
        }
  def emergency(table), do: get(table, :emergency) || raise(Errors.ended())

  @doc "The time of this space's clock, in milliseconds."
  @spec now_ms(t) :: integer
  def now_ms(table) do
    case clock(table) do
      :monotonic -> System.monotonic_time(:millisecond)
      clock -> div(Store.manual_clock_now(clock), 1_000_000)
    end
  end

  @doc "The time of this space's clock as a date: for people."
  @spec date(t) :: DateTime.t()
  def date(table) do
    case clock(table) do
      :monotonic -> DateTime.utc_now()
      clock -> clock |> Store.manual_clock_now() |> DateTime.from_unix!(:nanosecond)
    end
  end

  @doc "Whether time passes by itself, and is not moved by a test."
  @spec live?(t) :: boolean
  def live?(table), do: get(table, :clock) == :monotonic

  defp clock(table), do: get(table, :clock) || raise(Errors.ended())

  @spec get(t, term, default) :: term | default when default: term
  def get(table, key, default \\ nil) do
    case :ets.lookup(table, key) do
      [{^key, value}] -> value
      [] -> default
    end
  rescue
    # Its instance has just ended.
    ArgumentError -> default
  end

  @spec put(t, term, term) :: :ok
  def put(table, key, value) do
    :ets.insert(table, {key, value})
    :ok
  end

  @doc "Takes a row out."
  @spec take(t, term) :: term | nil
  def take(table, key) do
    case :ets.take(table, key) do
      [{^key, value}] -> value
      [] -> nil
    end
  end

  @doc "Counts something, and returns how much it is now."
  @spec count(t, term, integer) :: integer
  def count(table, key, more \\ 1), do: :ets.update_counter(table, key, more, {key, 0})

  # One that is there already was the parent of one that came before it.
  defp add(table, name, config, instance, clock) do
    unless :ets.member(table, {:subsystem, name}) do
      own = Keyword.fetch!(config.subsystems, name)
      whole = whole(table, own.parent, config, instance, clock)
      {limiter, owner} = Gates.new_limiter(own.limit, own.events, clock)

      subsystem = %Subsystem{
        instance: instance,
        name: name,
        limiter: limiter,
        gate: Gates.new_gate(clock, whole),
        cells: Subsystem.new_cells(),
        table: table,
        events: own.events
      }

      :ets.insert(table, [{{:owner, name}, owner}, {{:subsystem, name}, subsystem}])
    end
  end

  # Who shares a capacity works at one thing: its work is the parent's, too.
  defp whole(_table, nil, _config, _instance, _clock), do: nil

  defp whole(table, parent, config, instance, clock) do
    if Keyword.fetch!(config.subsystems, parent).shared do
      add(table, parent, config, instance, clock)
      subsystem(table, parent).gate
    end
  end

  # The greater of one a second and a hundredth of all limits; a source gets at most a fifth of it.
  defp add_emergency(table, config, clock) do
    rate = config.subsystems |> Enum.map(fn {_name, own} -> own.rate end) |> Enum.sum()
    limits = RateLimiter.Signals.Bypass.limits(rate)

    handles =
      Map.new(limits, fn {key, limit} ->
        {limiter, owner} = Gates.new_limiter(limit, :none, clock)
        :ets.insert(table, {{:emergency_owner, key}, owner})
        {key, limiter}
      end)

    :ets.insert(table, {:emergency, handles})
  end

  defp no_subsystems(instance) do
    "the instance #{inspect(instance)} has no subsystems. Give it the option vsm: true, or vsm: [subsystems: [...]]"
  end

  defp unknown(table, name, instance) do
    known = Keyword.keys(config(table).subsystems)

    near = if is_atom(name) and name != nil, do: Options.nearest(name, known)
    hint = if near == nil, do: ".", else: ", did you mean #{inspect(near)}?"

    "unknown subsystem #{inspect(name)} of #{inspect(instance)}#{hint} Known are #{Options.list(known)}"
  end
end
