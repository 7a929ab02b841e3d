defmodule RateLimiter.Agreement.Participant do
  @moduledoc false
  # One subsystem's part in the agreement, for its controller: a value that says what is under way, and what is known.
  #
  # A step is two messages to Redis at most: what was seen goes there, and where it is this node's turn, the step. Where
  # either has no answer, the node steps alone, from the scale that is in force and with what itself saw. That may have
  # been counted by the others, too: it is what this node has to go by.

  alias RateLimiter.Agreement
  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Agreement.{Counters, Entry, Heartbeat, Status, View}
  alias RateLimiter.VSM.{Apply, Decide, Loop, Observe, Scales, Subsystem, Table}

  @enforce_keys [:way, :keys, :group, :phase]
  defstruct [
    :way,
    :keys,
    :group,
    # At what part of a window this node comes: so they come one after the other.
    :phase,
    # Redis's time less that of the space's clock.
    :ahead_ms,
    :record,
    :under_way,
    epoch: 0,
    nodes: 1,
    standing: :fresh,
    # What Redis refused for since this node is alone, and was told.
    refusals: [],
    deferred: 0,
    stepped_ms: nil,
    urgent?: false
  ]

  @type t :: %__MODULE__{}

  # Clocks that disagree by more than this have what happened in the future: then a law begins anew.
  @most_back_ms 10_000

  @doc "The part of a subsystem, `nil` where its instance agrees with nobody."
  @spec new(Table.t(), atom) :: t | nil
  def new(table, name) do
    with %Agreement{} = way <- Table.get(table, :agreement) do
      group = Agreement.group(Table.config(table, name), Table.config(table).interval)
      keys = Agreement.keys(way, name, group)

      Status.resume(table, name, %__MODULE__{way: way, keys: keys, group: group, phase: phase()})
    end
  end

  @doc "A look at the subsystem, and the way to a step. `urgent?` where pain cannot wait for the window's end."
  @spec tick(t, Loop.t(), boolean) :: {t, Loop.t()}
  def tick(%__MODULE__{under_way: nil} = member, loop, urgent?) do
    {loop, seen} = Observe.look(loop)
    loop = Observe.reflect(loop, seen)
    asked = %{observation: seen.observation, urgent?: urgent?}

    case Agreement.meet(member.way, member.keys, words(member, loop, asked)) do
      {:sent, reference} -> {%{member | under_way: {reference, :meet, asked}}, loop}
      {:error, why} -> alone(member, loop, asked, why)
    end
  end

  # Pain that comes while an answer is awaited is told after it.
  def tick(member, loop, true), do: {%{member | urgent?: true}, loop}

  # The answer is a whole interval late: no more is to be expected.
  def tick(%{under_way: under_way} = member, loop, false) do
    {member, loop} = alone(%{member | under_way: nil}, loop, asked(under_way), :lost)
    tick(member, loop, false)
  end

  @doc "An answer. One that is not awaited any more changes nothing."
  @spec hear(t, Loop.t(), reference, {:ok, term} | {:error, term}) :: {t, Loop.t()}
  def hear(
        %__MODULE__{under_way: {reference, _what, _asked} = under_way} = member,
        loop,
        reference,
        answer
      ) do
    {member, loop} = answered(%{member | under_way: nil}, loop, under_way, answer)

    if member.urgent? and member.under_way == nil,
      do: tick(%{member | urgent?: false}, loop, true),
      else: {member, loop}
  end

  def hear(member, loop, _reference, _answer), do: {member, loop}

  @doc "In how many milliseconds it is to come again: once in each of Redis's windows."
  @spec delay_ms(t, Table.t()) :: pos_integer | nil
  def delay_ms(%__MODULE__{ahead_ms: nil}, _table), do: nil

  def delay_ms(%__MODULE__{ahead_ms: ahead, phase: phase}, table) do
    interval = Table.config(table).interval
    at = Table.now_ms(table) + ahead
    jitter = 0.1 * (:rand.uniform() - 0.5)
    round((Integer.floor_div(at, interval) + 1 + phase + jitter) * interval) - at
  end

  # Well within a window, however the tick is jittered.
  defp phase, do: 0.1 + 0.8 * :rand.uniform()

  ## Answers

  defp answered(member, loop, {_reference, :meet, asked}, answer) do
    with {:ok, reply} <- answer,
         {:ok, meeting} <- View.read(reply, member.group) do
      member
      |> met(loop, meeting)
      |> follow(loop, meeting, asked)
    else
      {:error, why} -> alone(member, loop, asked, why)
      :error -> alone(member, loop, asked, "it holds something else")
    end
  end

  defp answered(member, loop, {_reference, {:settle, record, ready}, asked}, answer) do
    case answer do
      {:ok, [1, _epoch, _record]} -> settled(member, ready, record)
      {:ok, [0, _epoch, bytes]} -> taken(member, loop, bytes)
      {:ok, _other} -> alone(member, loop, asked, "it holds something else")
      {:error, why} -> alone(member, loop, asked, why)
    end
  end

  defp met(member, loop, meeting) do
    nodes = View.size(meeting)
    ahead = meeting.at_ms - Table.now_ms(loop.subsystem.table)
    member = %{member | ahead_ms: ahead}

    if nodes != member.nodes and member.standing == :agreed and member.record != nil do
      Apply.put_guard(loop, Scales.part(member.record.decision.guard, nodes))
      Scales.apply(loop.subsystem.table, loop.subsystem)
    end

    %{member | nodes: nodes}
  end

  defp follow(member, loop, meeting, asked) do
    case View.verdict(meeting, mine(member, loop, asked)) do
      :adopt -> adopt(%{member | deferred: 0}, loop, meeting.record)
      :wait -> await(member, loop, asked)
      :defer -> await(%{member | deferred: member.deferred + 1}, loop, asked)
      {:step, from} -> step(%{member | deferred: 0}, loop, meeting, from, asked)
    end
  end

  # Who is alone stays so until there is an agreement.
  defp await(%{standing: :alone} = member, loop, asked), do: alone(member, loop, asked, nil)
  defp await(member, loop, _asked), do: {Status.keep(member, loop), loop}

  defp mine(member, loop, asked) do
    %{
      epoch: member.epoch,
      scale: held(loop),
      standing: member.standing,
      urgent?: asked.urgent?,
      deferred: member.deferred
    }
  end

  ## To step for all

  defp step(member, loop, meeting, from, asked) do
    size = View.size(meeting)
    {_since, until} = meeting.span
    now = max(until, last_ms(member, meeting, from))
    base = if now - until > @most_back_ms, do: anew(loop, meeting, from), else: from
    now = if base == from, do: now, else: until
    ready = on(loop, base, meeting, size / stepped_by(member, meeting, from))
    observation = View.observation(meeting, loop.config.rate)

    {ready, decision} = judged(ready, observation, now, meeting.record)
    facts = %{at_ms: now, by: member.way.label, nodes: size}
    epoch = max(meeting.epoch, member.epoch) + 1
    record = Entry.next(meeting.record, epoch, facts, {ready.state, decision})

    case propose(member, loop, meeting, record) do
      {:sent, reference} ->
        {%{member | under_way: {reference, {:settle, record, ready}, asked}}, loop}

      {:error, why} ->
        alone(member, loop, asked, why)
    end
  end

  defp propose(member, loop, meeting, record) do
    keep = Agreement.keep_ms(Table.config(loop.subsystem.table).interval)
    epochs = ["#{meeting.epoch}", "#{record.epoch}"]
    words = epochs ++ ["#{meeting.target}", Entry.write(record), "#{keep}"]
    Agreement.settle(member.way, member.keys, words)
  end

  # A state with which the law fails must not go on from node to node: one that has begun anew takes its place.
  defp judged(loop, observation, now, record) do
    case Decide.ask(loop, observation, now) do
      {:ok, state, decision} ->
        {%{loop | state: state}, decision}

      {:failed, loop} ->
        scale = Subsystem.scale(loop.subsystem)
        guard = if record, do: record.decision.guard, else: :infinity
        {loop, %Decision{scale: scale, from: scale, guard: guard}}
    end
  end

  defp last_ms(_member, %{record: record}, :theirs), do: record.at_ms
  defp last_ms(%{stepped_ms: nil}, meeting, _own), do: elem(meeting.span, 1)
  defp last_ms(member, _meeting, _own), do: member.stepped_ms

  defp anew(_loop, meeting, :theirs), do: {:anew, meeting.record.decision.scale}
  defp anew(loop, _meeting, _own), do: {:anew, held(loop)}

  defp stepped_by(_member, %{record: record}, :theirs), do: record.nodes
  defp stepped_by(%{standing: :agreed, record: record}, _meeting, _own), do: record.nodes
  defp stepped_by(_member, _meeting, _own), do: 1

  defp on(loop, {:anew, scale}, _meeting, _factor), do: Decide.start(loop, scale: scale)

  defp on(loop, :theirs, meeting, factor) do
    {:ok, state} = meeting.record.state
    Decide.resize(%{loop | state: state}, factor)
  end

  defp on(loop, :own, _meeting, factor), do: Decide.resize(loop, factor)

  ## To go by what all agreed on

  # The step was this node's own, and now it is everybody's.
  defp settled(member, loop, record) do
    member
    |> Map.put(:stepped_ms, record.at_ms)
    |> Status.agree(loop, record, :computed)
  end

  # Another node took it first.
  defp taken(member, loop, bytes) do
    case Entry.read(bytes) do
      {:ok, %Entry{epoch: epoch} = record} when epoch != member.epoch ->
        adopt(member, loop, record)

      _same_or_none ->
        {member, loop}
    end
  end

  defp adopt(member, loop, record) do
    loop =
      case record.state do
        {:ok, state} -> %{loop | state: state}
        :unreadable -> Decide.start(loop, scale: record.decision.scale)
      end

    member
    |> Map.put(:stepped_ms, record.at_ms)
    |> Status.agree(loop, record, :adopted)
  end

  ## To go alone

  defp alone(member, loop, asked, why) do
    size = if member.standing == :agreed, do: member.record.nodes, else: 1
    {member, loop} = Status.leave(member, Decide.resize(loop, 1 / size), why)
    now = max(now_ms(member, loop), member.stepped_ms || now_ms(member, loop))
    {%{member | stepped_ms: now}, loop |> Decide.step(asked.observation, now) |> Loop.keep()}
  end

  # While Redis was never heard, this node's own clock is the best guess of Redis's.
  defp now_ms(%{ahead_ms: nil}, _loop), do: System.os_time(:millisecond)
  defp now_ms(member, loop), do: Table.now_ms(loop.subsystem.table) + member.ahead_ms

  defp asked({_reference, _what, asked}), do: asked

  ## Words for meet.lua

  defp words(member, loop, %{observation: observation, urgent?: urgent?}) do
    interval = Table.config(loop.subsystem.table).interval

    presence = %Heartbeat{
      node: member.way.label,
      group: member.group,
      scale: held(loop),
      in_flight: observation.in_flight,
      pain: observation.pain,
      pleasure: observation.pleasure
    }

    counts = for {name, count} <- Counters.new(observation), word <- [name, "#{count}"], do: word

    [
      "0",
      "#{interval}",
      "#{Agreement.keep_ms(interval)}",
      member.way.node,
      Heartbeat.write(presence),
      "#{member.epoch}",
      if(urgent?, do: "urgent", else: ""),
      "#{observation.elapsed_ms}" | counts
    ]
  end

  # In a dry run the scale that is in force is not the law's.
  defp held(%{subsystem: %{table: table, name: name} = subsystem}) do
    case Table.get(table, {:decision, name}) do
      nil -> Subsystem.scale(subsystem)
      decision -> decision.scale / 1
    end
  end
end
