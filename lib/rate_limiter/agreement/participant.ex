defmodule RateLimiter.Agreement.Participant do
  @moduledoc false
  # One subsystem's part in the agreement of the nodes: a value that its controller keeps beside the control loop.
  #
  # A step needs at most two requests to Redis. `meet` contributes this node's observation and returns a view of all
  # nodes; `commit` takes a step for all of them, if it is this node's turn. If one of them fails, the node steps alone:
  # from the scale in force, with its own observation. Other nodes may have counted that observation, too, but this
  # node has nothing else to decide by.
  #
  # A lone node at which nothing happens has nothing to contribute and nobody to hear of. If the agreed scale holds nothing
  # back either, it meets in one window of ten, and says so to nodes that join. It still looks in each window, and meets
  # as soon as something happens.

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Agreement
  alias RateLimiter.Agreement.{Entry, Heartbeat, Meet, Status, View}
  alias RateLimiter.VSM.{Apply, Decide, Loop, Observe, Scales, Subsystem, Table}

  @enforce_keys [:agreement, :keys, :group, :phase]
  defstruct [
    :agreement,
    :keys,
    :group,
    # The part of a window at which this node meets, so that the nodes meet one after the other.
    :phase,
    # Redis's time minus this node's, in milliseconds.
    :ahead_ms,
    # The last agreed step.
    :entry,
    # The request in flight: {reference, :meet | {:commit, entry, loop}, contribution}.
    :pending,
    epoch: 0,
    nodes: 1,
    # The windows in a row in which nothing has happened here.
    quiet: 0,
    status: :new,
    # Errors of Redis that were explained since this node is alone.
    refusals: [],
    deferred: 0,
    stepped_ms: nil,
    urgent?: false
  ]

  @type t :: %__MODULE__{}

  # If clocks disagree by more than this, the agreed step is in the future: the law restarts.
  @max_clock_step_ms 10_000

  # Of so many quiet windows a node meets in one, after the first so many.
  @quiet_windows 10

  @doc "Returns the participant of a subsystem, or `nil` without an agreement."
  @spec new(Table.t(), atom) :: t | nil
  def new(table, name) do
    with %Agreement{} = agreement <- Table.get(table, :agreement) do
      group = Agreement.group(Table.config(table, name), Table.config(table).interval)

      Status.resume(table, name, %__MODULE__{
        agreement: agreement,
        keys: Agreement.keys(agreement, name, group),
        group: group,
        # Well within a window, also with the jitter of `delay_ms/2`.
        phase: 0.1 + 0.8 * :rand.uniform()
      })
    end
  end

  @doc "Observes the subsystem and requests a step. `urgent?` requests it before the end of the window."
  @spec tick(t, Loop.t(), boolean) :: {t, Loop.t()}
  def tick(%__MODULE__{pending: nil} = participant, loop, urgent?) do
    {loop, seen} = Observe.look(loop)
    loop = Observe.reflect(loop, seen)
    participant = listen(participant, seen.observation, urgent?)

    if rests?(participant, loop) and rem(participant.quiet, @quiet_windows) != 0,
      do: {participant, loop},
      else: contribute(participant, loop, %{observation: seen.observation, urgent?: urgent?})
  end

  # Requested again after the reply.
  def tick(participant, loop, true), do: {%{participant | urgent?: true}, loop}

  # The reply is late by a whole interval, so it is lost.
  def tick(%{pending: {_reference, _request, contribution}} = participant, loop, false) do
    {participant, loop} = step_alone(%{participant | pending: nil}, loop, contribution, :lost)
    tick(participant, loop, false)
  end

  defp listen(participant, observation, urgent?) do
    quiet = if urgent? or happens?(observation), do: 0, else: participant.quiet + 1
    %{participant | quiet: quiet}
  end

  defp happens?(%{fresh: fresh, earlier: earlier} = observation) do
    done = for work <- [fresh, earlier], do: work.ok + work.errors + work.timeouts + work.rejected

    observation.asked + observation.in_flight + Enum.sum(done) > 0 or
      observation.pain != %{} or observation.pleasure != %{}
  end

  defp rests?(
         %{status: :agreed, nodes: 1, quiet: quiet, entry: %Entry{decision: decision}},
         loop
       ),
       do: quiet >= @quiet_windows and decision.scale >= min(1.0, loop.config.ceiling)

  defp rests?(_participant, _loop), do: false

  defp contribute(participant, loop, contribution) do
    argv = participant |> meet(loop, contribution) |> Meet.to_argv()

    case Agreement.meet(participant.agreement, participant.keys, argv) do
      {:sent, reference} -> {%{participant | pending: {reference, :meet, contribution}}, loop}
      {:error, reason} -> step_alone(participant, loop, contribution, reason)
    end
  end

  @doc "Handles a reply. A reply to an older request changes nothing."
  @spec reply(t, Loop.t(), reference, {:ok, term} | {:error, term}) :: {t, Loop.t()}
  def reply(
        %__MODULE__{pending: {reference, request, contribution}} = participant,
        loop,
        reference,
        reply
      ) do
    {participant, loop} =
      handle(request, reply, %{participant | pending: nil}, loop, contribution)

    if participant.urgent? and participant.pending == nil,
      do: tick(%{participant | urgent?: false}, loop, true),
      else: {participant, loop}
  end

  def reply(participant, loop, _reference, _reply), do: {participant, loop}

  @doc "Returns the milliseconds until the next `tick/3`, one in each window of Redis's time; `nil` if that is unknown."
  @spec delay_ms(t, Table.t()) :: pos_integer | nil
  def delay_ms(%__MODULE__{ahead_ms: nil}, _table), do: nil

  def delay_ms(%__MODULE__{ahead_ms: ahead, phase: phase}, table) do
    interval = Table.config(table).interval
    at = Table.now_ms(table) + ahead
    jitter = 0.1 * (:rand.uniform() - 0.5)
    round((Integer.floor_div(at, interval) + 1 + phase + jitter) * interval) - at
  end

  ## The reply of meet.lua

  defp handle(:meet, reply, participant, loop, contribution) do
    with {:ok, reply} <- reply,
         {:ok, view} <- View.read(reply, participant.group) do
      participant
      |> update(loop, view)
      |> act(loop, view, contribution)
    else
      {:error, reason} -> step_alone(participant, loop, contribution, reason)
      :error -> step_alone(participant, loop, contribution, "unexpected reply")
    end
  end

  defp handle({:commit, entry, stepped}, reply, participant, loop, contribution) do
    case reply do
      {:ok, [1, _epoch, _entry]} -> agree(participant, stepped, entry, :computed)
      {:ok, [0, _epoch, bytes]} -> lost_race(participant, loop, bytes)
      {:ok, _other} -> step_alone(participant, loop, contribution, "unexpected reply")
      {:error, reason} -> step_alone(participant, loop, contribution, reason)
    end
  end

  defp update(participant, loop, view) do
    nodes = View.size(view)
    table = loop.subsystem.table

    if nodes != participant.nodes and participant.status == :agreed and participant.entry != nil do
      Apply.put_guard(loop, Scales.part(participant.entry.decision.guard, nodes))
      # Children of a shared capacity divide the new guard.
      Scales.apply(table, loop.subsystem)
    end

    %{participant | nodes: nodes, ahead_ms: view.at_ms - Table.now_ms(table)}
  end

  # A node that stays away knows nothing newer than the agreed step, however old that is, as if it was new.
  defp act(participant, loop, view, contribution) do
    case View.action(view, node_state(participant, loop, contribution)) do
      :adopt -> adopt(%{participant | deferred: 0}, loop, view.entry)
      :wait -> wait(participant, loop, contribution)
      :defer -> wait(%{participant | deferred: participant.deferred + 1}, loop, contribution)
      {:step, from} -> step(%{participant | deferred: 0}, loop, view, from, contribution)
    end
  end

  # A node that is alone keeps stepping alone until there is an agreed step.
  defp wait(%{status: :alone} = participant, loop, contribution),
    do: step_alone(participant, loop, contribution, nil)

  defp wait(participant, loop, _contribution), do: {Status.keep(participant, loop), loop}

  defp node_state(participant, loop, contribution) do
    participant
    |> Map.take([:epoch, :status, :deferred])
    |> Map.merge(%{scale: scale(loop), urgent?: contribution.urgent?})
    |> Map.update!(:status, &if(rests?(participant, loop), do: :new, else: &1))
  end

  ## A step for all nodes

  defp step(participant, loop, view, from, contribution) do
    nodes = View.size(view)
    {_since, until} = view.span
    last = last_ms(participant, view, from)

    {from, now} =
      if last - until > @max_clock_step_ms,
        do: {restart(loop, view, from), until},
        else: {from, max(until, last)}

    loop_for_all = prepare(loop, from, view, nodes / nodes_of_state(participant, view, from))
    observation = View.observation(view, loop.config.rate)
    {loop_for_all, decision} = decide(loop_for_all, observation, now, view.entry)

    facts = %{at_ms: now, by: participant.agreement.label, nodes: nodes}
    epoch = max(view.epoch, participant.epoch) + 1
    entry = Entry.next(view.entry, epoch, facts, {loop_for_all.state, decision})

    case commit(participant, loop, view, entry) do
      {:sent, reference} ->
        {%{participant | pending: {reference, {:commit, entry, loop_for_all}, contribution}},
         loop}

      {:error, reason} ->
        step_alone(participant, loop, contribution, reason)
    end
  end

  defp commit(participant, loop, view, entry) do
    keep_ms = Agreement.keep_ms(Table.config(loop.subsystem.table).interval)
    argv = [view.epoch, entry.epoch, view.target, Entry.write(entry), keep_ms]
    Agreement.commit(participant.agreement, participant.keys, Enum.map(argv, &to_string/1))
  end

  # A state with which the law fails must not spread to other nodes: the state of the restarted law replaces it.
  defp decide(loop, observation, now, entry) do
    case Decide.ask(loop, observation, now) do
      {:ok, state, decision} ->
        {%{loop | state: state}, decision}

      {:failed, loop} ->
        scale = Subsystem.scale(loop.subsystem)
        guard = if entry, do: entry.decision.guard, else: :infinity
        {loop, %Decision{scale: scale, from: scale, guard: guard}}
    end
  end

  defp last_ms(_participant, %{entry: entry}, :agreed), do: entry.at_ms
  defp last_ms(%{stepped_ms: nil}, view, _own), do: elem(view.span, 1)
  defp last_ms(participant, _view, _own), do: participant.stepped_ms

  defp restart(_loop, view, :agreed), do: {:restart, view.entry.decision.scale}
  defp restart(loop, _view, _own), do: {:restart, scale(loop)}

  defp nodes_of_state(_participant, %{entry: entry}, :agreed), do: entry.nodes
  defp nodes_of_state(%{status: :agreed, entry: entry}, _view, _own), do: entry.nodes
  defp nodes_of_state(_participant, _view, _own), do: 1

  defp prepare(loop, {:restart, scale}, _view, _factor), do: Decide.start(loop, scale: scale)
  defp prepare(loop, :own, _view, factor), do: Decide.resize(loop, factor)

  defp prepare(loop, :agreed, view, factor) do
    {:ok, state} = view.entry.state
    Decide.resize(%{loop | state: state}, factor)
  end

  ## The agreed step

  # Another node committed its step first.
  defp lost_race(participant, loop, bytes) do
    case Entry.read(bytes) do
      {:ok, %Entry{epoch: epoch} = entry} when epoch != participant.epoch ->
        adopt(participant, loop, entry)

      _same_or_none ->
        {participant, loop}
    end
  end

  defp adopt(participant, loop, entry) do
    loop =
      case entry.state do
        {:ok, state} -> %{loop | state: state}
        :unreadable -> Decide.start(loop, scale: entry.decision.scale)
      end

    agree(participant, loop, entry, :adopted)
  end

  defp agree(participant, loop, entry, how),
    do: Status.agree(%{participant | stepped_ms: entry.at_ms}, loop, entry, how)

  ## A step of this node alone

  defp step_alone(participant, loop, contribution, reason) do
    nodes = if participant.status == :agreed, do: participant.entry.nodes, else: 1
    {participant, loop} = Status.leave(participant, Decide.resize(loop, 1 / nodes), reason)
    now = now_ms(participant, loop)
    now = max(now, participant.stepped_ms || now)
    loop = loop |> Decide.step(contribution.observation, now) |> Loop.keep()
    {%{participant | stepped_ms: now}, loop}
  end

  # Before the first reply, this node's clock is the best estimate of Redis's time.
  defp now_ms(%{ahead_ms: nil}, _loop), do: System.os_time(:millisecond)

  defp now_ms(participant, loop),
    do: Table.now_ms(loop.subsystem.table) + participant.ahead_ms

  defp meet(participant, loop, %{observation: observation, urgent?: urgent?}) do
    interval = Table.config(loop.subsystem.table).interval

    %Meet{
      interval: interval,
      keep_ms: Agreement.keep_ms(interval),
      node: participant.agreement.node,
      epoch: participant.epoch,
      urgent?: urgent?,
      away: if(rests?(participant, loop), do: @quiet_windows, else: 0),
      observation: observation,
      heartbeat: %Heartbeat{
        node: participant.agreement.label,
        group: participant.group,
        scale: scale(loop),
        in_flight: observation.in_flight,
        pain: observation.pain,
        pleasure: observation.pleasure
      }
    }
  end

  # The law's last scale. In a dry run it is not the scale in force.
  defp scale(%{subsystem: %{table: table, name: name} = subsystem}) do
    case Table.get(table, {:decision, name}) do
      nil -> Subsystem.scale(subsystem)
      decision -> decision.scale / 1
    end
  end
end
