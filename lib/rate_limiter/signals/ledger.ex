defmodule RateLimiter.Signals.Ledger do
  @moduledoc false
  # What sources say of a subsystem, and what counts of it now: a signal fades, ends, and is capped.
  #
  # Anybody may write, from any process, so the ledger is bounded: a subsystem hears so many sources by name, and
  # the rest as one.

  alias RateLimiter.VSM.{Subsystem, Table}

  @max_sources 64
  @others :others

  # Who says so much for long is stuck, until it says clearly less.
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

  @doc "Notes what a source says now; returns the name under which it is kept, and how much it counts at most."
  @spec put(Subsystem.t(), kind, term, float, term) :: {source :: term, level :: float}
  def put(%Subsystem{table: table, name: name}, kind, source, level, reason) do
    signals = Table.get(table, :signals)
    now = Table.now_ms(table)
    name = literal(name)
    source = admitted(signals, kind, name, source)
    since = since(known(signals, kind, name, source), level, now)
    :ets.insert(signals, {{kind, name, source}, level, now, since, reason})
    {source, min(level, cap(table, kind))}
  end

  @doc "What each source's signal counts at `now`, the strongest first. One that has ended is no longer there."
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

  @doc "Forgets the signals that have ended."
  @spec purge(Table.t(), atom, integer) :: :ok
  def purge(table, name, now) do
    %{ttl: ttl} = Table.config(table)
    signals = Table.get(table, :signals)
    ended = [{{{:_, literal(name), :_}, :_, :"$1", :_, :_}, [{:"=<", :"$1", now - ttl}], [true]}]
    _count = :ets.select_delete(signals, ended)
    :ok
  end

  @doc "Since when a source has been saying no less than the worst, where it has."
  @spec stuck_for(entry, integer) :: non_neg_integer
  def stuck_for(%{since_ms: nil}, _now), do: 0
  def stuck_for(%{since_ms: since}, now), do: max(0, now - since)

  defp rows(table, kind, name) do
    :ets.select(Table.get(table, :signals), [
      {{{kind, literal(name), :"$1"}, :"$2", :"$3", :"$4", :"$5"}, [],
       [{{:"$1", :"$2", :"$3", :"$4", :"$5"}}]}
    ])
  end

  # A subsystem may have any name, also one that means something in a pattern, such as :_.
  defp literal(name), do: Atom.to_string(name)

  # A new source has a name of its own while there is room.
  defp admitted(signals, kind, name, source) do
    room? = fn ->
      :ets.select_count(signals, [{{{kind, name, :_}, :_, :_, :_, :_}, [], [true]}]) <
        @max_sources
    end

    if :ets.member(signals, {kind, name, source}) or room?.(), do: source, else: @others
  end

  defp known(signals, kind, name, source) do
    case :ets.lookup(signals, {kind, name, source}) do
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
