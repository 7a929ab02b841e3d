defmodule RateLimiter.VSM.History do
  @moduledoc false
  # The last changes of a subsystem, and of this node's gate: kept in the instance's table, so that whoever asks why
  # asks no process, and a crash forgets nothing.

  alias RateLimiter.Telemetry
  alias RateLimiter.VSM.Table

  @kept 32

  @usual %{stress: 0.0, binding: nil, held_by: nil, dry_run: false, agreement: nil, epoch: nil}

  # A way in many small steps is one entry: what began it must not be pushed out by them.
  @stepwise [:grow, :idle]
  @small 0.03

  # No subsystem's name.
  @node_key nil

  @type entry :: %{
          at: DateTime.t(),
          at_ms: integer,
          subsystem: atom | nil,
          action: atom,
          from: float,
          to: float,
          stress: float,
          binding: term,
          held_by: term,
          sentence: String.t(),
          since: DateTime.t(),
          steps: pos_integer,
          dry_run: boolean,
          agreement: :agreed | :alone | nil,
          epoch: pos_integer | nil
        }

  @doc "Notes what was decided of a subsystem, or of the gate where `name` is nil, and tells it as an event."
  @spec note(Table.t(), atom | nil, map) :: :ok
  def note(table, name, what) do
    now = %{at: Table.date(table), at_ms: Table.now_ms(table)}

    entry =
      @usual
      |> Map.merge(what)
      |> Map.merge(now)
      |> Map.merge(%{subsystem: name, since: now.at, steps: 1})

    history = Table.get(table, {:history, name}, [])
    Table.put(table, {:history, name}, entry |> onto(history) |> Enum.take(@kept))
    Telemetry.adaptation(Table.get(table, :instance), entry)
  end

  @doc "The last changes that concern a subsystem, the newest first."
  @spec last(Table.t(), atom) :: [entry]
  def last(table, name) do
    (Table.get(table, {:history, name}, []) ++ Table.get(table, {:history, @node_key}, []))
    |> Enum.sort_by(& &1.at_ms, :desc)
    |> Enum.take(@kept)
  end

  # A store that comes and goes, and comes and goes again: how it is, and how it was.
  defp onto(%{held_by: :store} = entry, [
         %{held_by: :store} = was,
         %{held_by: :store} = same | before
       ]),
       do: [%{entry | since: same.since, steps: same.steps + 1}, was | before]

  defp onto(%{action: action} = entry, [%{action: action} = last | before] = history) do
    if (small?(entry) or again?(entry, last)) and entry.dry_run == last.dry_run and
         entry.held_by == last.held_by,
       do: [%{entry | from: last.from, since: last.since, steps: last.steps + 1} | before],
       else: [entry | history]
  end

  defp onto(entry, history), do: [entry | history]

  # What goes on failing in the same way says it in each step.
  defp again?(%{held_by: :law_failed, sentence: same}, %{sentence: same}), do: true
  defp again?(_entry, _last), do: false

  defp small?(%{action: action}) when action in @stepwise, do: true
  defp small?(%{action: :cut, from: from, to: to}), do: to > (1 - @small) * from
  defp small?(_entry), do: false
end
