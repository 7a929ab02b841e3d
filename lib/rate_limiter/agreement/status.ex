defmodule RateLimiter.Agreement.Status do
  @moduledoc false
  # Whether a subsystem's scale is agreed or this node's own: what changes with it is done and told here, and what is
  # known is a row of the instance's table, so that a successor goes on from it.

  alias RateLimiter.Agreement.{Entry, Participant}
  alias RateLimiter.VSM.{Apply, Explain, Loop, Scales, Subsystem, Table}

  @doc "A member that knows what its predecessor knew."
  @spec resume(Table.t(), atom, Participant.t()) :: Participant.t()
  def resume(table, name, member) do
    known = Table.get(table, {:agreement, name}, %{})
    struct!(member, Map.take(known, [:epoch, :record, :nodes, :standing, :stepped_ms, :ahead_ms]))
  end

  @doc "How it stands, for people: `nil` where there is nobody to agree with."
  @spec describe(Table.t(), atom) :: map | nil
  def describe(table, name) do
    if Table.get(table, :agreement) do
      known = Table.get(table, {:agreement, name})
      standing(known)
    end
  end

  defp standing(nil), do: %{state: :alone, epoch: nil, nodes: 1, by: nil}

  defp standing(%{standing: standing, record: record, nodes: nodes}) do
    state = if standing == :agreed, do: :agreed, else: :alone
    nodes = if state == :agreed, do: nodes, else: 1
    %{state: state, epoch: record && record.epoch, nodes: nodes, by: record && record.by}
  end

  @doc "Leaves what is known for a successor, and for who asks."
  @spec keep(Participant.t(), Loop.t()) :: Participant.t()
  def keep(member, %{subsystem: %{table: table, name: name}}) do
    Table.put(table, {:agreement, name}, %{member | under_way: nil})
    member
  end

  @doc "Goes by a step that all agreed on, and tells of it."
  @spec agree(Participant.t(), Loop.t(), Entry.t(), :computed | :adopted) ::
          {Participant.t(), Loop.t()}
  def agree(member, loop, record, how) do
    from = Subsystem.scale(loop.subsystem)
    decision = bounded(record.decision, loop.config)
    local = %{decision | guard: Scales.part(decision.guard, member.nodes)}
    Apply.put(loop, local, cut?: record.cut_epoch > member.epoch)

    loop = %{
      loop
      | agreement: :agreed,
        epoch: record.epoch,
        # It is told upwards once, by whoever reckoned it.
        hopeless: how == :computed and decision.escalate?
    }

    tell(member, loop, %{record | decision: decision}, from, how)
    member = %{member | standing: :agreed, epoch: record.epoch, record: record}
    {keep(member, loop), Loop.keep(loop)}
  end

  @doc "Goes by what this node alone sees, and tells of it where that is new, or why Redis refuses is."
  @spec leave(Participant.t(), Loop.t(), term) :: {Participant.t(), Loop.t()}
  def leave(%{standing: :alone} = member, loop, why) do
    {member, new?} = refused(member, why)
    if new?, do: tell_alone(member, loop, why, "still goes on alone")
    {keep(member, loop), loop}
  end

  def leave(member, loop, why) do
    {member, _new?} = refused(%{member | refusals: []}, why)
    loop = %{loop | agreement: :alone, epoch: nil}
    tell_alone(member, loop, why, "goes on alone")
    {keep(%{member | standing: :alone}, loop), loop}
  end

  # What has to be changed must be known, also where it came after an answer that was late. Once: a server that refuses
  # now for this and now for that would push all else out of what is kept.
  defp refused(member, why) when is_binary(why),
    do: {%{member | refusals: Enum.uniq([why | member.refusals])}, why not in member.refusals}

  defp refused(member, _why), do: {member, false}

  defp tell_alone(member, loop, why, goes_on) do
    scale = Subsystem.scale(loop.subsystem)
    from = if member.record, do: " of epoch #{member.record.epoch}", else: ""

    Explain.add(loop, %{
      action: :alone,
      from: scale,
      to: scale,
      sentence:
        "No agreement of the nodes: #{words(why)}. This node #{goes_on}, from the scale #{number(scale)}#{from}."
    })
  end

  # The floor and the ceiling hold, whatever is in Redis.
  defp bounded(decision, own),
    do: %{decision | scale: decision.scale |> max(own.floor) |> min(own.ceiling)}

  defp tell(%{standing: :alone}, loop, record, from, how),
    do: join(loop, record, from, how, "Redis is back")

  defp tell(member, loop, record, from, how) do
    %{decision: decision, epoch: epoch} = record

    cond do
      decision.news? and (how == :computed or epoch == member.epoch + 1) ->
        Explain.decision(loop, said(decision, record, how), decision.from || from)

      same?(from, decision.scale) or loop.config.dry_run ->
        :ok

      member.standing == :fresh ->
        join(loop, record, from, how, "This node has come to the others")

      true ->
        join(loop, record, from, how, "This node has missed what others agreed on")
    end
  end

  # The scale in force is kept in parts per million.
  defp same?(one, other), do: abs(one - other) < 1.0e-6

  defp join(loop, record, from, how, why) do
    %{scale: scale, stress: stress, binding: binding} = record.decision

    Explain.add(loop, %{
      action: :join,
      from: from,
      to: scale,
      stress: stress,
      binding: binding,
      sentence:
        "#{why}: the scale goes from #{number(from)} to #{number(scale)}. #{agreed(record, how)}"
    })
  end

  defp said(decision, record, how),
    do: %{decision | sentence: "#{decision.sentence} #{agreed(record, how)}"}

  defp agreed(%{nodes: 1} = record, :computed),
    do: "Agreed in epoch #{record.epoch}: this node is the only one."

  defp agreed(record, how) do
    who = if how == :computed, do: "this node", else: record.by
    "#{nodes(record.nodes)} agreed on it in epoch #{record.epoch}, reckoned by #{who}."
  end

  defp nodes(1), do: "1 node"
  defp nodes(count), do: "#{count} nodes"

  defp words(:away), do: "Redis is away"
  defp words(:full), do: "too much waits for Redis"
  defp words(:lost), do: "Redis did not answer in time"
  defp words(:unknown_store), do: "the way to Redis is closed"
  defp words(said), do: "Redis says #{String.trim_trailing(said, ".")}"

  defp number(number), do: :erlang.float_to_binary(number / 1, [:compact, decimals: 2])
end
