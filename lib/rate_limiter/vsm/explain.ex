defmodule RateLimiter.VSM.Explain do
  @moduledoc false
  # The entries of `RateLimiter.VSM.explain/1`: the last changes of a subsystem's scale and of this node's gate, and
  # the reasons for no change. They are rows of the instance's table: readers need no process, and a crash loses none.

  alias RateLimiter.{Telemetry, VSM}
  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Core.{Numbers, Options}
  alias RateLimiter.VSM.{Loop, Subsystem, Table}

  @max_entries 32

  @defaults %{stress: 0.0, binding: nil, held_by: nil, dry_run: false, agreement: nil, epoch: nil}

  # Many small steps in one direction are one entry, so that they do not push out what caused them.
  @stepwise [:grow, :idle]
  @small 0.03

  # A gate's entries have no subsystem.
  @gate nil

  # Minimum time between two entries about a measure that keeps failing.
  @measure_failures_apart_ms 60_000

  @doc "Adds an entry about a subsystem, or about the gate if `name` is nil, and emits it as an event."
  @spec add(Table.t(), atom | nil, map) :: :ok
  def add(table, name, fields) do
    now = %{at: Table.date(table), at_ms: Table.now_ms(table)}

    entry =
      @defaults
      |> Map.merge(fields)
      |> Map.merge(now)
      |> Map.merge(%{subsystem: name, since: now.at, steps: 1})

    history = Table.get(table, {:history, name}, [])
    Table.put(table, {:history, name}, entry |> onto(history) |> Enum.take(@max_entries))
    Table.count(table, {:adaptations, name, entry.action})
    Telemetry.adaptation(Table.get(table, :instance), entry)
  end

  @doc "Returns how many entries there were of each subsystem and action."
  @spec counts(Table.t()) :: [{atom | nil, atom, pos_integer}]
  def counts(table),
    do:
      :ets.select(table, [{{{:adaptations, :"$1", :"$2"}, :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])

  @doc "Returns the last entries that concern a subsystem, the newest first."
  @spec last(Table.t(), atom) :: [VSM.explanation()]
  def last(table, name) do
    (Table.get(table, {:history, name}, []) ++ Table.get(table, {:history, @gate}, []))
    |> Enum.sort_by(& &1.at_ms, :desc)
    |> Enum.take(@max_entries)
  end

  @doc "Adds an entry about a loop's subsystem."
  @spec add(Loop.t(), map) :: :ok
  def add(%{subsystem: %{table: table, name: name}} = loop, fields) do
    scale = Subsystem.scale(loop.subsystem)

    defaults = %{
      action: :hold,
      from: scale,
      to: scale,
      dry_run: loop.config.dry_run,
      agreement: loop.agreement,
      epoch: loop.epoch
    }

    add(table, name, Map.merge(defaults, fields))
  end

  @spec decision(Loop.t(), Decision.t(), float) :: :ok
  def decision(loop, decision, from) do
    fields = Map.take(decision, [:action, :stress, :binding, :held_by])
    sentence = decision.sentence || ""
    add(loop, Map.merge(fields, %{from: from, to: decision.scale, sentence: sentence}))
  end

  @doc "Explains that the law failed: `how` is what it did."
  @spec law_failed(Loop.t(), String.t()) :: :ok
  def law_failed(loop, how),
    do:
      add(loop, %{
        held_by: :law_failed,
        sentence: "The law #{how}: the scale stays #{scale(loop)}."
      })

  @doc "Explains that a source is contained."
  @spec contained(Loop.t(), map) :: :ok
  def contained(loop, %{source: source, counts: counts, for_ms: for_ms}) do
    consequence =
      if counts == 0,
        do: "is ignored until it reports less than 0.7, because all other signals are healthy",
        else: "may hold the scale at #{scale(loop)}, but no longer lower it"

    add(loop, %{
      held_by: {:contained, source},
      binding: {:pain, source},
      stress: counts,
      sentence:
        "#{Options.show(source)} has reported pain of 0.9 or more for #{seconds(for_ms)}: it #{consequence}."
    })
  end

  @doc "Explains new failures of the subsystem's measure, at most once a minute."
  @spec measure_failures(Loop.t(), integer) :: Loop.t()
  def measure_failures(%{subsystem: %{table: table, name: name}} = loop, now) do
    failures = Table.get(table, {:measure_failed, name}, 0)
    last = loop.measure_reported_ms

    if failures > loop.measure_failures and
         (last == nil or now - last >= @measure_failures_apart_ms) do
      measure_failed(loop, failures - loop.measure_failures)
      %{loop | measure_failures: failures, measure_reported_ms: now}
    else
      loop
    end
  end

  defp measure_failed(loop, failures) do
    event = loop.config.health && inspect(elem(loop.config.health, 0))
    times = if failures == 1, do: "once", else: "#{failures} times"
    sentence = "The :health function of #{event} failed #{times}: these events are not counted."
    add(loop, %{held_by: :no_opinion, sentence: sentence})
  end

  @doc "Returns why pain is escalated."
  @spec unresolved(Loop.t(), float, integer) :: String.t()
  def unresolved(%{hopeless: true} = loop, level, _now),
    do: "The law can do no more about pain of #{Numbers.number(level)} at scale #{scale(loop)}."

  def unresolved(loop, level, now) do
    "Pain of #{Numbers.number(level)} has lasted #{seconds(now - loop.suffering_ms)} at scale #{scale(loop)}."
  end

  # A store that fails and recovers repeatedly has two entries: its last state, and the one before.
  defp onto(%{held_by: :store} = entry, [
         %{held_by: :store} = previous,
         %{held_by: :store} = same | older
       ]),
       do: [%{entry | since: same.since, steps: same.steps + 1}, previous | older]

  defp onto(%{action: action} = entry, [%{action: action} = last | older] = history) do
    if (small?(entry) or repeated?(entry, last)) and entry.dry_run == last.dry_run and
         entry.held_by == last.held_by,
       do: [%{entry | from: last.from, since: last.since, steps: last.steps + 1} | older],
       else: [entry | history]
  end

  defp onto(entry, history), do: [entry | history]

  # A law that keeps failing in the same way explains it in each step.
  defp repeated?(%{held_by: :law_failed, sentence: same}, %{sentence: same}), do: true
  defp repeated?(_entry, _last), do: false

  defp small?(%{action: action}) when action in @stepwise, do: true
  defp small?(%{action: :cut, from: from, to: to}), do: to > (1 - @small) * from
  defp small?(_entry), do: false

  defp scale(loop), do: Numbers.number(Subsystem.scale(loop.subsystem))
  defp seconds(ms), do: "#{Numbers.number(ms / 1_000)} s"
end
