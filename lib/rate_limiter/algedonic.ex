defmodule RateLimiter.Algedonic do
  @moduledoc """
  Pain and pleasure: the short way by which whoever notices says how a subsystem is.

      RateLimiter.Algedonic.pain(:s1, 0.8, reason: "queue of 4,000")
      RateLimiter.Algedonic.pleasure(:s1, 0.5)

  A signal is a level from 0.0 to 1.0 from a source, about a subsystem. It counts half after its half-life (5 s) and
  nothing after its time to live (10 s), so pain that lasts has to be said again. Of one source the last word
  counts; of several the strongest. What follows from it is the law's, see `RateLimiter.VSM`.

  ## What is done about signals that are wrong

    * A source's pain is capped (`:source_cap` of the instance), and a subsystem hears at most 64 sources by name.
    * Who says 0.9 or more for half a minute (`:stuck_after`), and never clearly less, is *contained*: it may hold the
      limit where it is, but no longer lower it; and it is not heard at all where reported work or another source says
      that all is well. It is named in `RateLimiter.VSM.explain/1`, and heard again when it says less than 0.7.
    * A call that a limit of this library denied is no pain, and nothing here makes it one.

  ## Pain that cannot wait

  Pain of 0.9 or more has its subsystem's law take a step at once, though not more often than once a second. Pain that stays,
  at 0.5 or more for the subsystem's `:patience` (30 s), or for which the law can do no more, is told to its parent as
  the parent's pain; at the root it is the event `[:rate_limiter, :algedonic, :escalation]`.

  A call that must go through in any case says `emergency: true` (`RateLimiter.VSM.check_subsystem_limit/3`, `RateLimiter.VSM.run/4`):
  it takes from a small bucket of its own, which no scale shrinks.
  """

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Core.Options
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Signals.{Ledger, Subscribers}
  alias RateLimiter.VSM.{Subsystem, Tree}

  # An alarm begins here, and ends at half of it: it does not flutter.
  @begins 0.5
  @ends 0.25
  @at_once 0.9

  @signal [
    source: [
      type: :any,
      doc: "who says so. Default: the calling process, by its registered name where it has one."
    ],
    reason: [type: :any, doc: "why, for people: any term."],
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
      doc: "the instance whose subsystems are meant."
    ]
  ]

  @type kind :: :pain | :pleasure

  @doc """
  Says that a subsystem suffers, from 0.0 (not at all, any more) to 1.0.

  Returns `:ok`. It asks no process and never waits. Raises `ArgumentError` for a level that is none and a subsystem that
  is not there.

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
  Says that a subsystem does well, from 0.0 to 1.0: then its limit comes back faster.

  Returns `:ok`. Options and misuse are those of `pain/3`.

  ## Examples

      iex> RateLimiter.Algedonic.pleasure(:s1, 0.5)
      :ok
  """
  @spec pleasure(atom, number, keyword) :: :ok
  def pleasure(subsystem, level, options \\ []), do: signal(:pleasure, subsystem, level, options)

  @doc """
  Has the calling process hear of pain or pleasure from now on, until it ends or unsubscribes.

  Returns `:ok`, also where it heard already, and where no such instance runs yet. It gets `{:algedonic, :pain, news}` when an alarm begins or ends and when
  pain is escalated: not for each signal, of which there may be many. `news` is a map:

    * `:event` - `:began` (a source said 0.5 or more), `:ended` (all sources together are below 0.25 again), or
      `:escalated`
    * `:instance`, `:subsystem`, `:level`
    * `:source` and `:reason` of the strongest signal, where there is one
    * `:to` - of an escalation, the parent that was told, or `nil` at the root

  ## Options

  #{Options.docs(@subscription, "  ")}

  ## Examples

      iex> RateLimiter.Algedonic.subscribe(:pain)
      iex> RateLimiter.Algedonic.pain(:s1, 0.8, source: :probe)
      iex> receive do: ({:algedonic, :pain, news} -> {news.event, news.subsystem, news.level, news.source})
      {:began, :s1, 0.8, :probe}
  """
  @spec subscribe(kind, keyword) :: :ok
  def subscribe(kind, options \\ []), do: Subscribers.add(kind!(kind), instance(options))

  @doc """
  Has the calling process hear no more of it. Returns `:ok`, also where it did not hear before.

  ## Examples

      iex> RateLimiter.Algedonic.unsubscribe(:pain)
      :ok
  """
  @spec unsubscribe(kind, keyword) :: :ok
  def unsubscribe(kind, options \\ []), do: Subscribers.remove(kind!(kind), instance(options))

  @doc false
  # Says the same for a process of this library, such as a child for its parent.
  @spec tell(Subsystem.t(), kind, term, float, term) :: :ok
  def tell(%Subsystem{} = subsystem, kind, source, level, reason) do
    {source, counts} = Ledger.put(subsystem, kind, source, level, reason)
    Telemetry.signal(subsystem, kind, level, source, reason)

    if counts >= @begins and Subsystem.raise_flag(subsystem, kind),
      do: news(subsystem, kind, %{event: :began, level: counts, source: source, reason: reason})

    if kind == :pain and counts >= @at_once and Subsystem.raise_flag(subsystem, :urgent),
      do: request_step(subsystem)

    :ok
  end

  @doc false
  # Ends the alarm where the level that counts has fallen far enough.
  @spec settle(Subsystem.t(), kind, float) :: :ok
  def settle(subsystem, kind, level) do
    if level < @ends and Subsystem.lower_flag(subsystem, kind),
      do: news(subsystem, kind, %{event: :ended, level: level, source: nil, reason: nil})

    :ok
  end

  @doc false
  # Passes pain on that was not resolved: to the parent, or from the root to whoever listens.
  @spec escalate(Subsystem.t(), float, Ledger.entry() | nil, String.t()) :: :ok
  def escalate(%Subsystem{table: table, name: name} = subsystem, level, entry, why) do
    parent = Tree.parent(table, name)
    to = parent && parent.name
    source = entry && entry.source
    Telemetry.escalation(subsystem, level, to, source, why)

    news(subsystem, :pain, %{event: :escalated, level: level, source: source, reason: why, to: to})

    if parent, do: tell(parent, :pain, {:child, name}, min(level, 1.0), why), else: :ok
  end

  # The flag stays up until the controller has received the message, so that one message waits at most.
  defp request_step(%{table: table, name: name}) do
    with pid when is_pid(pid) <- Registry.whereis({:controller, table, name}),
         do: send(pid, :urgent)
  end

  defp signal(kind, name, level, options) do
    options = Options.validate!(options, @signal, [])
    level = level!(level)
    subsystem = Tree.subsystem!(options.instance, name)
    tell(subsystem, kind, options.source || caller(), level, options.reason)
  end

  defp news(subsystem, kind, news) do
    Subscribers.tell(
      kind,
      Map.merge(news, %{instance: subsystem.instance, subsystem: subsystem.name})
    )
  end

  defp caller do
    case Process.info(self(), :registered_name) do
      {:registered_name, name} when is_atom(name) -> name
      _unnamed -> self()
    end
  end

  defp instance(options), do: Options.validate!(options, @subscription, []).instance

  defp level!(level) when is_number(level) and level >= 0 and level <= 1, do: level / 1

  defp level!(other),
    do: Options.misuse!([:level], "expected a number from 0.0 to 1.0, got: #{inspect(other)}")

  defp kind!(kind) when kind in [:pain, :pleasure], do: kind
  defp kind!(other), do: Options.expected!([:kind], ":pain or :pleasure", other)
end
