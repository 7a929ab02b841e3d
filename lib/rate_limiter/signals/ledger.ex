defmodule RateLimiter.Signals.Ledger do
  @moduledoc false
  # The signals of pain and pleasure: what each source reported last about a subsystem, and its present level. A signal
  # fades, expires, and is capped.
  #
  # Any process may write, so the ledger is bounded: a subsystem keeps this many sources by name, and the rest as one.

  alias RateLimiter.Core.Errors
  alias RateLimiter.VSM.{Subsystem, Table}

  @max_sources 64
  @others :others

  # A source that stays above this level for long is stuck, until it reports clearly less.
  @stuck_at 0.9
  @unstuck_at 0.7

  @type kind :: :pain | :pleasure
  @type entry :: %{
          source: term,
          level: float,
          stated: float,
          reason: term,
          at_ms: integer,
          since_ms: integer | nil
        }

  @doc "Creates an empty ledger, which the calling process owns."
  @spec new() :: :ets.tid()
  def new, do: :ets.new(__MODULE__, [:ordered_set, :public])

  @doc "Stores a signal. Returns the name under which its source is kept, and its capped level."
  @spec put(Subsystem.t(), kind, term, float, term) :: {source :: term, level :: float}
  def put(%Subsystem{table: table, name: name}, kind, source, level, reason) do
    ledger = Table.get(table, :signals)
    now = Table.now_ms(table)
    name = literal(name)
    source = admit(ledger, kind, name, source)
    since = since(known_since(ledger, kind, name, source), level, now)
    :ets.insert(ledger, {{kind, name, source}, level, now, since, reason})
    {source, min(level, cap(table, kind))}
  rescue
    # The instance has stopped.
    ArgumentError -> raise Errors.ended()
  end

  @doc "Returns the signals that are valid at `now` with their present levels, the strongest first."
  @spec entries(Table.t(), kind, atom, integer) :: [entry]
  def entries(table, kind, name, now) do
    config = Table.config(table)
    cap = cap(table, kind)

    entries =
      for {source, stated, at, since, reason} <- rows(table, kind, name), now - at < config.ttl do
        level = min(stated, cap) * :math.pow(0.5, max(0, now - at) / config.half_life)

        %{
          source: source,
          level: level,
          stated: stated,
          reason: reason,
          at_ms: at,
          since_ms: since
        }
      end

    Enum.sort_by(entries, & &1.level, :desc)
  end

  @doc "Deletes expired signals."
  @spec purge(Table.t(), atom, integer) :: :ok
  def purge(table, name, now) do
    %{ttl: ttl} = Table.config(table)

    expired = [
      {{{:_, literal(name), :_}, :_, :"$1", :_, :_}, [{:"=<", :"$1", now - ttl}], [true]}
    ]

    _count = :ets.select_delete(Table.get(table, :signals), expired)
    :ok
  end

  @doc "Returns for how many milliseconds a source has reported great pain."
  @spec stuck_for(entry, integer) :: non_neg_integer
  def stuck_for(%{since_ms: nil}, _now), do: 0
  def stuck_for(%{since_ms: since}, now), do: max(0, now - since)

  defp rows(table, kind, name) do
    :ets.select(Table.get(table, :signals), [
      {{{kind, literal(name), :"$1"}, :"$2", :"$3", :"$4", :"$5"}, [],
       [{{:"$1", :"$2", :"$3", :"$4", :"$5"}}]}
    ])
  rescue
    ArgumentError -> raise Errors.ended()
  end

  # As text, since a subsystem's name may be a variable of match patterns, such as :_.
  defp literal(name), do: Atom.to_string(name)

  # A new source is kept by name while there is room.
  defp admit(ledger, kind, name, source) do
    pattern = [{{{kind, name, :_}, :_, :_, :_, :_}, [], [true]}]

    if :ets.member(ledger, {kind, name, source}) or
         :ets.select_count(ledger, pattern) < @max_sources,
       do: source,
       else: @others
  end

  defp known_since(ledger, kind, name, source) do
    case :ets.lookup(ledger, {kind, name, source}) do
      [{_key, _level, _at, since, _reason}] -> since
      [] -> nil
    end
  end

  defp since(nil, level, now) when level >= @stuck_at, do: now
  defp since(nil, _level, _now), do: nil
  defp since(since, level, _now) when level >= @unstuck_at, do: since
  defp since(_since, _level, _now), do: nil

  defp cap(table, :pain), do: Table.config(table).source_cap
  defp cap(_table, :pleasure), do: 1.0
end
