defmodule RateLimiter.VSM.Loop do
  @moduledoc false
  # The slow loop of one subsystem: look, ask the law, apply what it says, and tell. Its state is a value, which the
  # instance's table keeps from step to step; the controller only says when.

  alias RateLimiter.Algedonic
  alias RateLimiter.Adaptive.{Decision, Fixed, Histogram, Observation, Work}
  alias RateLimiter.Signals.{Containment, Ledger}
  alias RateLimiter.VSM.{Config, Demand, Gate, History, Scales, Subsystem, Table, Tree}

  @enforce_keys [:subsystem, :own, :law, :state, :at_ms, :counts]
  defstruct [
    :subsystem,
    :own,
    :law,
    :state,
    :at_ms,
    :counts,
    :calm_ms,
    :suffering_ms,
    :escalated_ms,
    hopeless: false,
    usual: 0.0,
    unjudged: %Work{},
    well: {false, 0},
    contained: [],
    measure_failures: 0,
    measure_told_ms: nil,
    agreement: nil,
    epoch: nil
  ]

  @type t :: %__MODULE__{}
  @type seen :: %{now: integer, observation: Observation.t(), pain: [map], level: float}

  @suffers 0.5
  @relieved 0.25
  @calm 0.1
  @inaudible 0.01

  # How long what work said of itself is true.
  @verdict_ms 10_000

  # Between two words about a measure that goes on failing: each step's would push all else out of the history.
  @again_ms 60_000

  # How fast a new measure of demand (a second of it) and of the mean duration counts.
  @learns 0.3

  @doc "Where a controller goes on: with what its predecessor left, or anew from the scale that is in force."
  @spec resume(Table.t(), atom) :: t
  def resume(table, name) do
    # Taken, not read: a state that makes the next step crash is not tried twice.
    case Table.take(table, {:loop, name}) do
      %__MODULE__{} = loop -> loop
      nil -> new(table, name)
    end
  end

  @doc "One step at the present time of the space's clock."
  @spec step(t) :: t
  def step(%__MODULE__{} = loop) do
    {loop, seen} = look(loop)
    loop |> decide(seen.observation, seen.now) |> reflect(seen)
  end

  @doc "What was seen since the last look, of which nothing is decided yet."
  @spec look(t) :: {t, seen}
  def look(%__MODULE__{subsystem: %Subsystem{table: table, name: name} = subsystem} = loop) do
    now = Table.now_ms(table)
    Ledger.purge(table, name, now)
    {work, counts} = {Gate.drain(subsystem.gate), Gate.counts(subsystem.gate)}
    pain = Ledger.entries(table, :pain, name, now)
    loop = judge(loop, work, now)
    {levels, contained} = contain(loop, pain, now)
    observation = observe(loop, work, counts, levels, now)

    loop = %{loop | contained: named(loop, contained), at_ms: now, counts: counts}
    {loop, %{now: now, observation: observation, pain: pain, level: strongest(levels)}}
  end

  @doc "What follows from what was seen for this node alone, whoever decides."
  @spec reflect(t, seen) :: t
  def reflect(%__MODULE__{subsystem: subsystem} = loop, seen) do
    %{observation: observation, pain: pain, level: level, now: now} = seen
    loop = loop |> learn(observation) |> suffer(pain, level, now) |> tell_measures(now)
    Algedonic.settle(subsystem, :pain, level)
    Algedonic.settle(subsystem, :pleasure, strongest(observation.pleasure))
    keep(loop)
  end

  @doc "Leaves it for a successor."
  @spec keep(t) :: t
  def keep(%__MODULE__{subsystem: %Subsystem{table: table, name: name}} = loop) do
    Table.put(table, {:loop, name}, loop)
    loop
  end

  defp new(table, name) do
    subsystem = Table.subsystem(table, name)
    own = Table.config(table, name)

    loop = %__MODULE__{
      subsystem: subsystem,
      own: own,
      law: Config.law_options(own),
      state: nil,
      at_ms: Table.now_ms(table),
      counts: Gate.counts(subsystem.gate)
    }

    begin(loop)
  end

  # The scale in force is told to a law that resumes; one that begins may have its own idea.
  defp begin(%{subsystem: subsystem} = loop) do
    if Table.get(subsystem.table, {:decision, subsystem.name}) != nil,
      do: begin(loop, scale: Subsystem.scale(subsystem)),
      else: begin(loop, [])
  end

  @doc "Has the law begin anew, with these options besides its own."
  @spec begin(t, keyword) :: t
  # One that does not begin again leaves its place to none: better a limit that stands still than one that nobody holds.
  def begin(%__MODULE__{law: {law, options}} = loop, more) do
    %{loop | state: law.new(Keyword.merge(options, more))}
  rescue
    error -> stand_still(loop, raised(error))
  catch
    kind, reason -> stand_still(loop, ended(kind, reason))
  end

  defp stand_still(loop, how) do
    say_failed(loop, how)
    scale = Subsystem.scale(loop.subsystem)
    %{loop | law: {Fixed, scale: scale}, state: Fixed.new(scale: scale)}
  end

  ## Looking

  defp contain(loop, pain, now) do
    %{stuck_after: stuck_after} = Table.config(loop.subsystem.table)
    {well?, at_ms} = loop.well
    Containment.levels(pain, stuck_after, well? and now - at_ms <= @verdict_ms, now)
  end

  # A verdict takes some work, which may take some steps to come together.
  defp judge(loop, {fresh, earlier}, now) do
    work = loop.unjudged |> Work.add(fresh) |> Work.add(earlier)

    if Containment.enough?(work),
      do: %{loop | unjudged: %Work{}, well: {Containment.well?(work, loop.calm_ms), now}},
      else: %{loop | unjudged: work}
  end

  defp observe(loop, {fresh, earlier}, counts, pain, now) do
    %{subsystem: %{table: table, name: name}, own: own, counts: before} = loop

    %Observation{
      limit: own.rate,
      elapsed_ms: max(now - loop.at_ms, 1),
      fresh: fresh,
      earlier: earlier,
      asked: counts.asked - before.asked,
      denied: counts.denied - before.denied,
      guarded: counts.guarded - before.guarded,
      in_flight: counts.in_flight,
      pain: audible(pain),
      pleasure:
        table
        |> Ledger.entries(:pleasure, name, now)
        |> Map.new(&{&1.source, &1.level})
        |> audible()
    }
  end

  # What says that nothing hurts is no pain.
  defp audible(levels), do: Map.reject(levels, fn {_source, level} -> level < @inaudible end)

  ## Deciding

  @doc "Asks the law, and does what it says."
  @spec decide(t, Observation.t(), integer) :: t
  def decide(%__MODULE__{} = loop, observation, now) do
    case ask(loop, observation, now) do
      {:ok, state, decision} -> applied(%{loop | state: state}, decision)
      {:failed, loop} -> loop
    end
  end

  @doc "What the law says, and its state then. Nothing is done."
  @spec ask(t, Observation.t(), integer) :: {:ok, term, Decision.t()} | {:failed, t}
  def ask(%__MODULE__{law: {law, _options}} = loop, observation, now) do
    {state, %Decision{} = decision} = law.step(loop.state, observation, now)
    {:ok, state, %{decision | scale: within(loop.own, decision.scale)}}
  rescue
    # A law that fails is no opinion: the scale stays, and the law begins again from there.
    error -> {:failed, failed(loop, raised(error))}
  catch
    kind, reason -> {:failed, failed(loop, ended(kind, reason))}
  end

  # Whatever a law says, the floor and the ceiling hold.
  defp within(own, scale) when is_number(scale), do: scale |> max(own.floor) |> min(own.ceiling)

  defp within(_own, other),
    do: raise(ArgumentError, "expected a number as the scale, got: #{inspect(other, limit: 5)}")

  defp applied(%{subsystem: subsystem} = loop, %Decision{} = decision) do
    from = Subsystem.scale(subsystem)
    put(loop, decision, cut?: decision.action == :cut)
    if decision.news?, do: note(loop, decision, decision.from || from)

    %{loop | hopeless: decision.escalate?}
  end

  @doc "Tells the law that from now on it is shown the work of so many times as many nodes."
  @spec resize(t, float) :: t
  def resize(%__MODULE__{} = loop, factor) when factor == 1, do: loop

  def resize(%__MODULE__{law: {law, _options}} = loop, factor) do
    if function_exported?(law, :resize, 2),
      do: %{loop | state: law.resize(loop.state, factor)},
      else: loop
  rescue
    error -> failed(loop, raised(error))
  catch
    kind, reason -> failed(loop, ended(kind, reason))
  end

  @doc "Puts a decision on the subsystem. After a cut, work that began before it is told apart."
  @spec put(t, Decision.t(), cut?: boolean) :: :ok
  def put(%__MODULE__{subsystem: subsystem, own: own} = loop, decision, cut?: cut?) do
    unless own.dry_run do
      Subsystem.put_scale(subsystem, decision.scale)
      put_guard(loop, decision.guard)
      if cut?, do: Gate.cut(subsystem.gate)
    end

    snapshot(loop, decision)
  end

  @doc "Puts a guard on the subsystem's gate."
  @spec put_guard(t, pos_integer | :infinity) :: :ok
  def put_guard(%__MODULE__{own: %{dry_run: true}}, _guard), do: :ok

  def put_guard(%__MODULE__{subsystem: %Subsystem{table: table} = subsystem}, guard) do
    # Before the scales: what is at work is shared, too.
    Gate.set_guard(subsystem.gate, guard)
    Scales.apply(table, subsystem)
  end

  defp snapshot(%{subsystem: %{table: table, name: name}}, decision),
    do: Table.put(table, {:decision, name}, decision)

  defp failed(loop, how) do
    say_failed(loop, how)
    begin(loop)
  end

  defp say_failed(loop, how) do
    scale = Subsystem.scale(loop.subsystem)

    say(loop, %{
      held_by: :law_failed,
      from: scale,
      to: scale,
      sentence: "the law #{how}: the scale stays at #{number(scale)}"
    })
  end

  defp raised(error) do
    why = error |> Exception.message() |> String.slice(0, 200)
    "raised #{inspect(error.__struct__)} (#{why})"
  end

  defp ended(:exit, reason), do: "exited with #{inspect(reason, limit: 5)}"
  defp ended(:throw, value), do: "threw #{inspect(value, limit: 5)}"

  ## Learning

  defp learn(%{subsystem: subsystem} = loop, observation) do
    demand = observation.asked * 1_000 / observation.elapsed_ms
    Subsystem.put_demand(subsystem, toward(Subsystem.demand(subsystem), demand, observation))
    loop = %{loop | usual: Demand.usual(loop.usual, demand, observation.elapsed_ms)}
    Subsystem.put_need(subsystem, max(Subsystem.demand(subsystem), Demand.ready_for(loop.usual)))

    case Histogram.mean(observation.fresh.latency) do
      nil -> loop
      mean -> learn_durations(loop, observation, mean)
    end
  end

  defp learn_durations(%{subsystem: subsystem} = loop, observation, mean) do
    Subsystem.put_mean_ms(subsystem, toward(Subsystem.mean_ms(subsystem) || mean, mean))

    if strongest(observation.pain) < @calm and loop.contained == [] do
      p25 = Histogram.quantile(observation.fresh.latency, 0.25)
      %{loop | calm_ms: toward(loop.calm_ms || p25, p25)}
    else
      loop
    end
  end

  defp toward(old, new), do: old + @learns * (new - old)

  # By how long it was seen: in the moment between a step and one out of turn, three calls are no thousand a second.
  defp toward(old, new, %{elapsed_ms: ms}),
    do: new + (old - new) * :math.pow(1 - @learns, ms / 1_000)

  ## Suffering: pain that the law did not resolve in time is told upwards

  defp suffer(loop, pain, level, now) do
    stated = Enum.find(pain, &(&1.level >= @relieved))
    since = loop.suffering_ms

    cond do
      loop.hopeless -> escalate(%{loop | suffering_ms: since || now}, level, stated, now)
      level >= @suffers and since == nil -> %{loop | suffering_ms: now}
      level < @relieved and loop.contained == [] -> %{loop | suffering_ms: nil, escalated_ms: nil}
      since != nil and now - since >= loop.own.patience -> escalate(loop, level, stated, now)
      true -> loop
    end
  end

  # Said once a patience; in between the parent's pain is kept from fading.
  defp escalate(%{escalated_ms: last, own: %{patience: patience}} = loop, level, _entry, now)
       when last != nil and now - last < patience do
    with %Subsystem{} = parent <- Tree.parent(loop.subsystem.table, loop.subsystem.name),
         do: Ledger.put(parent, :pain, {:child, loop.subsystem.name}, level, "not resolved")

    loop
  end

  defp escalate(loop, level, entry, now) do
    level = if entry, do: max(level, min(entry.level, 1.0)), else: level

    why = unresolved(loop, level, now)
    Algedonic.escalate(loop.subsystem, level, entry, why)
    %{loop | escalated_ms: now}
  end

  defp unresolved(%{hopeless: true} = loop, level, _now),
    do: "the law can do no more about pain of #{number(level)} at #{at_scale(loop)}"

  defp unresolved(loop, level, now),
    do:
      "pain of #{number(level)} has lasted #{seconds(now - loop.suffering_ms)} at #{at_scale(loop)}"

  defp at_scale(loop), do: "a scale of #{number(Subsystem.scale(loop.subsystem))}"

  ## Telling

  defp named(loop, contained) do
    for %{source: source} = one <- contained,
        source not in loop.contained,
        do: say_contained(loop, one)

    Enum.map(contained, & &1.source)
  end

  defp say_contained(loop, one) do
    scale = Subsystem.scale(loop.subsystem)

    what =
      if one.counts == 0.0,
        do: "all else says that all is well, so it is not heard until it says less than 0.7",
        else: "it may hold the scale at #{number(scale)}, and no longer lowers it"

    say(loop, %{
      held_by: {:contained, one.source},
      binding: {:pain, one.source},
      from: scale,
      to: scale,
      stress: one.counts,
      sentence:
        "#{inspect(one.source)} has reported pain of 0.9 or more for #{seconds(one.for_ms)}: #{what}"
    })
  end

  # A measure that fails is no opinion, and says so.
  defp tell_measures(%{subsystem: %{table: table, name: name}, measure_told_ms: told} = loop, now) do
    failures = Table.get(table, {:measure_failed, name}, 0)

    if failures > loop.measure_failures and (told == nil or now - told >= @again_ms) do
      say_measures(loop, failures - loop.measure_failures)
      %{loop | measure_failures: failures, measure_told_ms: now}
    else
      loop
    end
  end

  defp say_measures(loop, failures) do
    scale = Subsystem.scale(loop.subsystem)
    event = loop.own.health && inspect(elem(loop.own.health, 0))
    times = if failures == 1, do: "once", else: "#{failures} times"

    say(loop, %{
      held_by: :no_opinion,
      from: scale,
      to: scale,
      sentence: "the measure of #{event} failed #{times}: no opinion from it"
    })
  end

  @doc "Tells of a decision."
  @spec note(t, Decision.t(), float) :: :ok
  def note(%__MODULE__{} = loop, decision, from) do
    decision
    |> Map.take([:action, :stress, :binding, :held_by])
    |> Map.merge(%{from: from, to: decision.scale, sentence: decision.sentence || ""})
    |> then(&say(loop, &1))
  end

  @doc "Tells what happened to the subsystem."
  @spec say(t, map) :: :ok
  def say(%__MODULE__{subsystem: %{table: table, name: name}, own: own} = loop, what) do
    usual = %{action: :hold, dry_run: own.dry_run, agreement: loop.agreement, epoch: loop.epoch}
    History.note(table, name, Map.merge(usual, what))
  end

  defp strongest(levels), do: levels |> Map.values() |> Enum.max(fn -> 0.0 end)

  defp number(number), do: :erlang.float_to_binary(number / 1, [:compact, decimals: 2])
  defp seconds(ms), do: "#{number(ms / 1_000)} s"
end
