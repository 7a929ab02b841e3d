defmodule RateLimiter.Support.Council do
  @moduledoc false
  # Nodes that agree, as values: the real scripts in a real server, the real messages and verdicts, and no process and no
  # clock. A test says who does what, in which order, and what gets lost.

  alias RateLimiter.Agreement
  alias RateLimiter.Adaptive.{Observation, Standard}
  alias RateLimiter.Agreement.{Counters, Entry, Heartbeat, View}
  alias RateLimiter.Support.Redis

  @span 1_000
  @rate 100.0

  @doc "A group that nobody else is in."
  def new(server, options \\ []) do
    way = %Agreement{
      store: 0,
      prefix: "rate_limiter",
      instance: make_ref(),
      node: "",
      label: ""
    }

    %{server: server, group: "g", way: way, law: Standard, options: options}
  end

  def span, do: @span

  @doc "A node of it, of the same configuration or of another group."
  def node(council, name, group \\ "g") do
    %{
      name: name,
      group: group,
      keys: Agreement.keys(council.way, :a, group),
      standing: :fresh,
      epoch: 0,
      record: nil,
      state: council.law.new(council.options),
      scale: 1.0,
      deferred: 0
    }
  end

  @doc "The node brings an observation at `now`: what it hears, read."
  def meet(council, node, observation, now, urgent? \\ false) do
    presence = %Heartbeat{
      node: node.name,
      group: node.group,
      scale: node.scale,
      in_flight: observation.in_flight,
      pain: observation.pain,
      pleasure: observation.pleasure
    }

    counts = for {name, count} <- Counters.new(observation), word <- [name, count], do: word

    words = [
      now,
      @span,
      60_000,
      node.name,
      Heartbeat.write(presence),
      node.epoch,
      if(urgent?, do: "urgent", else: ""),
      observation.elapsed_ms | counts
    ]

    {:ok, meeting} = View.read(eval(council, "meet", node.keys, words), node.group)
    meeting
  end

  @doc "What follows for the node from what it heard."
  def verdict(node, meeting, urgent? \\ false) do
    mine = Map.take(node, [:epoch, :scale, :standing, :deferred])
    View.verdict(meeting, Map.put(mine, :urgent?, urgent?))
  end

  @doc "What all saw together."
  def reckoned(meeting), do: View.observation(meeting, @rate)

  @doc "The step that the node would take for all."
  def reckon(council, node, meeting, from) do
    state =
      case from do
        :theirs -> meeting.record.state |> elem(1)
        :own -> node.state
        {:anew, scale} -> council.law.new([scale: scale] ++ council.options)
      end

    observation = reckoned(meeting)
    now = elem(meeting.span, 1)
    facts = %{at_ms: now, by: node.name, nodes: View.size(meeting)}
    epoch = max(meeting.epoch, node.epoch) + 1
    Entry.next(meeting.record, epoch, facts, council.law.step(state, observation, now))
  end

  @doc "The node takes it: `{:settled, node}`, or what another one took, `{:taken, record}`."
  def settle(council, node, meeting, record) do
    [_nodes, agreed, _open, closed] = node.keys

    words = [meeting.epoch, record.epoch, meeting.target, Entry.write(record), 60_000]

    case eval(council, "settle", [agreed, closed], words) do
      [1, _epoch, _record] -> {:settled, adopt(node, record)}
      [0, _epoch, ""] -> {:taken, nil}
      [0, _epoch, bytes] -> {:taken, bytes |> Entry.read() |> elem(1)}
    end
  end

  @doc "The node after it has taken up a step."
  def adopt(node, nil), do: node

  def adopt(node, record) do
    {:ok, state} = record.state

    %{
      node
      | standing: :agreed,
        epoch: record.epoch,
        record: record,
        state: state,
        scale: record.decision.scale,
        deferred: 0
    }
  end

  @doc "The node after a step of its own, from what it saw alone."
  def alone(council, node, observation, now) do
    {state, decision} = council.law.step(node.state, %{observation | limit: @rate}, now)
    %{node | standing: :alone, state: state, scale: decision.scale}
  end

  @doc "A whole turn: brings what it saw, and does what follows. Also what it was that followed."
  def turn(council, node, now, options \\ []) do
    observation = Keyword.get(options, :saw, %Observation{limit: @rate})
    urgent? = Keyword.get(options, :urgent?, false)
    meeting = meet(council, node, observation, now, urgent?)

    case verdict(node, meeting, urgent?) do
      {:step, from} ->
        {:settled, node} = settle(council, node, meeting, reckon(council, node, meeting, from))
        {{:step, from}, node}

      :adopt ->
        {:adopt, adopt(node, meeting.record)}

      :defer ->
        {:defer, %{node | deferred: node.deferred + 1}}

      :wait ->
        {:wait, node}
    end
  end

  defp eval(council, script, keys, words) do
    source = File.read!(Path.expand("../../lib/rate_limiter/agreement/#{script}.lua", __DIR__))

    Redis.command!(council.server, ["EVAL", source, length(keys)] ++ keys ++ words)
  end
end
