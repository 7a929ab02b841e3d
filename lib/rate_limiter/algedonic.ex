defmodule RateLimiter.Algedonic do
  @moduledoc """
  Signals of pain and pleasure: any process can report how a subsystem is.

      RateLimiter.Algedonic.pain(:s1, 0.8, reason: "queue of 4,000")
      RateLimiter.Algedonic.pleasure(:s1, 0.5)

  A signal is a level from 0.0 to 1.0 that a source reports about a subsystem. After its half-life (5 s) it has half its
  level, and after its time to live (10 s) it expires, so lasting pain must be reported repeatedly. The last signal of
  each source is valid, and the strongest of several sources counts. The subsystem's law decides what follows, see
  `RateLimiter.VSM`.

  ## Wrong signals

    * The pain of one source is capped (`:source_cap` of the instance), and a subsystem keeps at most 64 sources by name.
    * A source that reports 0.9 or more for half a minute (`:stuck_after`), and never less than 0.7, is *contained*: it
      may hold the limit, but no longer lower it. If reported work or another source shows that all is well, it is
      ignored. `RateLimiter.VSM.explain/1` names it. Its signals count again after it has reported less than 0.7.
    * A call that a limit of this library denied is not pain, and never becomes pain here.

  ## Urgent pain

  Pain of 0.9 or more triggers a step of the subsystem's law at once, at most one per second. Pain that stays at 0.5 or
  more for the subsystem's `:patience` (30 s), or for which the law can do no more, is escalated: it becomes pain of the
  parent, or at the root the event `[:rate_limiter, :algedonic, :escalation]`.

  A call that must be admitted in any case has the option `emergency: true` (`RateLimiter.VSM.check_subsystem_limit/3`,
  `RateLimiter.VSM.run/4`): it uses a small budget that no scale reduces.
  """

  alias RateLimiter.Core.Options
  alias RateLimiter.Instance
  alias RateLimiter.Signals.Ledger
  alias RateLimiter.Telemetry
  alias RateLimiter.VSM.{Subsystem, Tree}

  # An alarm ends at half of the level at which it begins, so that it does not flutter.
  @begins 0.5
  @ends 0.25
  @urgent 0.9

  @signal [
    source: [
      type: :any,
      doc: "the source. Default: the calling process, by its registered name if it has one."
    ],
    reason: [type: :any, doc: "the reason, for events and subscribers: any term."],
    instance: [
      type: :any,
      default: Instance.default_name(),
      doc: "the instance of the subsystem."
    ]
  ]

  @subscription [
    instance: [
      type: :any,
      default: Instance.default_name(),
      doc: "the instance of the subsystems."
    ]
  ]

  @type kind :: :pain | :pleasure

  @doc """
  Reports pain of a subsystem, from 0.0 (no pain, or no longer) to 1.0.

  Returns `:ok`. It calls no process and never waits. Raises `ArgumentError` for an invalid level and an unknown subsystem.

  ## Options

  #{Options.docs(@signal, "  ")}

  ## Examples

      iex> RateLimiter.Algedonic.pain(:s1, 0.8, reason: "queue of 4,000")
      :ok
      iex> RateLimiter.VSM.subsystem_metrics().s1.pain
      0.8
      iex> RateLimiter.Algedonic.pain(:s1, 80)
      ** (ArgumentError) level: expected a number from 0.0 to 1.0, got: 80
  """
  @spec pain(atom, number, keyword) :: :ok
  def pain(subsystem, level, options \\ []), do: signal(:pain, subsystem, level, options)

  @doc """
  Reports pleasure of a subsystem, from 0.0 to 1.0, so that its limit recovers faster.

  Returns `:ok`. Options and errors are those of `pain/3`.

  ## Examples

      iex> RateLimiter.Algedonic.pleasure(:s1, 0.5)
      :ok
  """
  @spec pleasure(atom, number, keyword) :: :ok
  def pleasure(subsystem, level, options \\ []), do: signal(:pleasure, subsystem, level, options)

  @doc """
  Subscribes the calling process to alarms of pain or pleasure until it exits or unsubscribes.

  Returns `:ok`, also if the process has subscribed before, and before the instance has started. The process receives
  `{:algedonic, :pain, alarm}` when an alarm begins or ends and when pain is escalated, but not for each signal. `alarm` is
  a map:

    * `:event` - `:began` (a source reported 0.5 or more), `:ended` (all sources together are below 0.25 again), or
      `:escalated`
    * `:instance`, `:subsystem`, `:level`
    * `:source` and `:reason` - of the strongest signal; `nil` when the alarm ends
    * `:to` - for `:escalated`, the parent that gets the pain, or `nil` at the root

  ## Options

  #{Options.docs(@subscription, "  ")}

  ## Examples

      iex> RateLimiter.Algedonic.subscribe(:pain)
      iex> RateLimiter.Algedonic.pain(:s1, 0.8, source: :probe)
      iex> receive do: ({:algedonic, :pain, alarm} -> {alarm.event, alarm.subsystem, alarm.level, alarm.source})
      {:began, :s1, 0.8, :probe}
  """
  @spec subscribe(kind, keyword) :: :ok
  def subscribe(kind, options \\ []),
    do: kind |> topic(options) |> Instance.Names.subscribe()

  @doc """
  Unsubscribes the calling process. Returns `:ok`, also if it was not subscribed.

  ## Examples

      iex> RateLimiter.Algedonic.unsubscribe(:pain)
      :ok
  """
  @spec unsubscribe(kind, keyword) :: :ok
  def unsubscribe(kind, options \\ []),
    do: kind |> topic(options) |> Instance.Names.unsubscribe()

  @doc false
  # Reports a signal of this library's own, such as a child's pain to its parent.
  @spec report(Subsystem.t(), kind, term, float, term) :: :ok
  def report(%Subsystem{} = subsystem, kind, source, level, reason) do
    {source, capped} = Ledger.put(subsystem, kind, source, level, reason)
    Telemetry.signal(subsystem, kind, level, source, reason)

    if capped >= @begins and Subsystem.raise_flag(subsystem, kind),
      do: notify(subsystem, kind, %{event: :began, level: capped, source: source, reason: reason})

    if kind == :pain and capped >= @urgent and Subsystem.raise_flag(subsystem, :urgent),
      do: request_step(subsystem)

    :ok
  end

  @doc false
  # Ends the alarm if the level has fallen far enough.
  @spec settle(Subsystem.t(), kind, float) :: :ok
  def settle(subsystem, kind, level) do
    if level < @ends and Subsystem.lower_flag(subsystem, kind),
      do: notify(subsystem, kind, %{event: :ended, level: level, source: nil, reason: nil})

    :ok
  end

  @doc false
  # Passes unresolved pain to the parent, or from the root to subscribers and event handlers alone.
  @spec escalate(Subsystem.t(), float, Ledger.entry() | nil, String.t()) :: :ok
  def escalate(%Subsystem{table: table, name: name} = subsystem, level, entry, reason) do
    parent = Tree.parent(table, name)
    to = parent && parent.name
    source = entry && entry.source
    Telemetry.escalation(subsystem, level, to, source, reason)
    alarm = %{event: :escalated, level: level, source: source, reason: reason, to: to}
    notify(subsystem, :pain, alarm)

    if parent, do: report(parent, :pain, {:child, name}, min(level, 1.0), reason), else: :ok
  end

  # The flag stays raised until the controller has received the message, so at most one message waits.
  defp request_step(%{table: table, name: name}) do
    with pid when is_pid(pid) <- Instance.Registry.whereis({:controller, table, name}),
         do: send(pid, :urgent)
  end

  defp signal(kind, name, level, options) do
    options = Options.validate!(options, @signal, [])
    level = level!(level)
    subsystem = Tree.subsystem!(options.instance, name)
    report(subsystem, kind, options.source || caller(), level, options.reason)
  end

  defp notify(%{instance: instance, name: name}, kind, alarm) do
    alarm = Map.merge(alarm, %{instance: instance, subsystem: name})

    for pid <- Instance.Names.subscribers({kind, instance}),
        do: send(pid, {:algedonic, kind, alarm})
  end

  defp caller do
    case Process.info(self(), :registered_name) do
      {:registered_name, name} when is_atom(name) -> name
      _unnamed -> self()
    end
  end

  defp topic(kind, options) do
    unless kind in [:pain, :pleasure],
      do: Options.expected!([:kind], ":pain or :pleasure", kind)

    {kind, Options.validate!(options, @subscription, []).instance}
  end

  defp level!(level) when is_number(level) and level >= 0 and level <= 1, do: level / 1

  defp level!(other),
    do: Options.expected!([:level], "a number from 0.0 to 1.0", other)
end
