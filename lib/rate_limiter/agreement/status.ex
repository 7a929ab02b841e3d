defmodule RateLimiter.Agreement.Status do
  @moduledoc false
  # Whether a subsystem's scale is agreed or this node's own. A change of status is applied and explained here, and
  # saved as a row of the instance's table, from which the next controller resumes.

  alias RateLimiter.Agreement.{Entry, Participant}
  alias RateLimiter.Core.Numbers
  alias RateLimiter.VSM.{Apply, Explain, Loop, Scales, Subsystem, Table}

  @doc "Returns the participant with the saved status of its predecessor."
  @spec resume(Table.t(), atom, Participant.t()) :: Participant.t()
  def resume(table, name, participant) do
    saved = Table.get(table, {:agreement, name}, %{})
    fields = [:epoch, :entry, :nodes, :status, :stepped_ms, :ahead_ms]
    struct!(participant, Map.take(saved, fields))
  end

  @doc "Saves the status for the next controller and for `describe/2`."
  @spec keep(Participant.t(), Loop.t()) :: Participant.t()
  def keep(participant, %{subsystem: %{table: table, name: name}}) do
    Table.put(table, {:agreement, name}, %{participant | pending: nil})
    participant
  end

  @doc "Returns the status for `RateLimiter.VSM.subsystem_metrics/1`; `nil` without an agreement."
  @spec describe(Table.t(), atom) :: map | nil
  def describe(table, name) do
    if Table.get(table, :agreement) do
      case Table.get(table, {:agreement, name}) do
        nil -> %{state: :alone, epoch: nil, nodes: 1, by: nil}
        %{status: :agreed, entry: entry, nodes: nodes} -> describe(:agreed, entry, nodes)
        %{entry: entry} -> describe(:alone, entry, 1)
      end
    end
  end

  defp describe(state, entry, nodes),
    do: %{state: state, epoch: entry && entry.epoch, nodes: nodes, by: entry && entry.by}

  @doc "Applies an agreed step and explains it."
  @spec agree(Participant.t(), Loop.t(), Entry.t(), :computed | :adopted) ::
          {Participant.t(), Loop.t()}
  def agree(participant, loop, entry, how) do
    from = Subsystem.scale(loop.subsystem)
    decision = bounded(entry.decision, loop.config)
    local = %{decision | guard: Scales.part(decision.guard, participant.nodes)}
    Apply.put(loop, local, cut?: entry.cut_epoch > participant.epoch)

    loop = %{
      loop
      | agreement: :agreed,
        epoch: entry.epoch,
        # Only the node that computed the step escalates.
        hopeless: how == :computed and decision.escalate?
    }

    explain(participant, loop, %{entry | decision: decision}, from, how)
    participant = %{participant | status: :agreed, epoch: entry.epoch, entry: entry}
    {keep(participant, loop), Loop.keep(loop)}
  end

  @doc "Leaves the agreement, and explains it if the status or the error is new."
  @spec leave(Participant.t(), Loop.t(), term) :: {Participant.t(), Loop.t()}
  def leave(%{status: :alone} = participant, loop, reason) do
    {participant, new?} = refused(participant, reason)
    if new?, do: explain_alone(participant, loop, reason, "still decides alone")
    {keep(participant, loop), loop}
  end

  def leave(participant, loop, reason) do
    {participant, _new?} = refused(%{participant | refusals: []}, reason)
    loop = %{loop | agreement: :alone, epoch: nil}
    explain_alone(participant, loop, reason, "decides alone")
    {keep(%{participant | status: :alone}, loop), loop}
  end

  # An error of Redis is explained even after a timeout was. Each is explained once: a server that alternates between
  # two errors would push all other entries out.
  defp refused(participant, reason) when is_binary(reason) do
    new? = reason not in participant.refusals
    {%{participant | refusals: Enum.uniq([reason | participant.refusals])}, new?}
  end

  defp refused(participant, _reason), do: {participant, false}

  # The floor and the ceiling hold for every entry from Redis.
  defp bounded(decision, config),
    do: %{decision | scale: decision.scale |> max(config.floor) |> min(config.ceiling)}

  ## Explanations

  defp explain_alone(participant, loop, reason, decides_alone) do
    scale = Numbers.number(Subsystem.scale(loop.subsystem))
    of_epoch = if participant.entry, do: " of epoch #{participant.entry.epoch}", else: ""

    Explain.add(loop, %{
      action: :alone,
      sentence:
        "No agreement of the nodes: #{text(reason)}. This node #{decides_alone}, from scale #{scale}#{of_epoch}."
    })
  end

  defp explain(%{status: :alone}, loop, entry, from, how),
    do: explain_join(loop, entry, from, how, "Redis is available again")

  defp explain(participant, loop, entry, from, how) do
    %{decision: decision, epoch: epoch} = entry

    cond do
      decision.news? and (how == :computed or epoch == participant.epoch + 1) ->
        sentence = "#{decision.sentence} #{agreed(entry, how)}"
        Explain.decision(loop, %{decision | sentence: sentence}, decision.from || from)

      same?(from, decision.scale) or loop.config.dry_run ->
        :ok

      participant.status == :new ->
        explain_join(loop, entry, from, how, "This node has joined the others")

      true ->
        explain_join(loop, entry, from, how, "This node has missed a step of the others")
    end
  end

  # The scale in force is stored in parts per million.
  defp same?(one, other), do: abs(one - other) < 1.0e-6

  defp explain_join(loop, entry, from, how, cause) do
    %{scale: scale, stress: stress, binding: binding} = entry.decision

    Explain.add(loop, %{
      action: :join,
      from: from,
      to: scale,
      stress: stress,
      binding: binding,
      sentence:
        "#{cause}: the scale changes #{Numbers.from_to(from, scale)}. #{agreed(entry, how)}"
    })
  end

  defp agreed(%{nodes: 1} = entry, :computed),
    do: "Agreed in epoch #{entry.epoch} by this node, the only one."

  defp agreed(entry, how) do
    by = if how == :computed, do: "this node", else: entry.by

    "#{Numbers.count(entry.nodes, "node")} agreed on it in epoch #{entry.epoch}, computed by #{by}."
  end

  defp text(:away), do: "Redis is unavailable"
  defp text(:full), do: "too many requests wait for Redis"
  defp text(:lost), do: "Redis did not reply in time"
  defp text(:unknown_store), do: "the Redis connection is closed"
  defp text(error), do: "Redis replied: #{String.trim_trailing(error, ".")}"
end
