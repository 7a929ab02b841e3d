defmodule RateLimiter.Support.Council do
  @moduledoc false
  # Nodes that agree, as values: the real scripts in a real server, the real messages and actions, but no process and no
  # clock. A test decides what each node does, in which order, and which replies are lost.

  alias RateLimiter.Adaptive.{Observation, Standard}
  alias RateLimiter.Agreement
  alias RateLimiter.Agreement.{Entry, Heartbeat, Meet, View}
  alias RateLimiter.Support.Redis

  @span 1_000
  @rate 100.0
  @keep_ms 60_000

  @doc "Returns a council of its own keys."
  def new(server, options \\ []) do
    agreement = %Agreement{
      store: 0,
      prefix: "rate_limiter",
      instance: make_ref(),
      node: "",
      label: ""
    }

    %{server: server, group: "g", agreement: agreement, law: Standard, options: options}
  end

  def span, do: @span

  @doc "Returns a node of the council, of the same configuration or of another group."
  def node(council, name, group \\ "g") do
    %{
      name: name,
      group: group,
      keys: Agreement.keys(council.agreement, :a, group),
      status: :new,
      epoch: 0,
      entry: nil,
      state: council.law.new(council.options),
      scale: 1.0,
      deferred: 0
    }
  end

  @doc "Contributes an observation of the node at `now` and returns its view. It may stay away for so many windows."
  def meet(council, node, observation, now, urgent? \\ false, away \\ 0) do
    meet = %Meet{
      now_ms: now,
      interval: @span,
      keep_ms: @keep_ms,
      node: node.name,
      epoch: node.epoch,
      urgent?: urgent?,
      away: away,
      observation: observation,
      heartbeat: %Heartbeat{
        node: node.name,
        group: node.group,
        scale: node.scale,
        in_flight: observation.in_flight,
        pain: observation.pain,
        pleasure: observation.pleasure
      }
    }

    {:ok, view} = View.read(eval(council, "meet", node.keys, Meet.to_argv(meet)), node.group)
    view
  end

  @doc "Returns the node's next action after a view."
  def action(node, view, urgent? \\ false) do
    state = Map.take(node, [:epoch, :scale, :status, :deferred])
    View.action(view, Map.put(state, :urgent?, urgent?))
  end

  @doc "Returns the observation of all nodes."
  def observation(view), do: View.observation(view, @rate)

  @doc "Returns the step that the node would take for all nodes."
  def step(council, node, view, from) do
    state =
      case from do
        :agreed -> view.entry.state |> elem(1)
        :own -> node.state
        {:restart, scale} -> council.law.new([scale: scale] ++ council.options)
      end

    observation = observation(view)
    now = elem(view.span, 1)
    facts = %{at_ms: now, by: node.name, nodes: View.size(view)}
    epoch = max(view.epoch, node.epoch) + 1
    Entry.next(view.entry, epoch, facts, council.law.step(state, observation, now))
  end

  @doc "Commits a step: `{:committed, node}`, or `{:lost, entry}` with the step of another node."
  def commit(council, node, view, entry) do
    [_nodes, agreed, _open, closed] = node.keys

    argv = [view.epoch, entry.epoch, view.target, Entry.write(entry), @keep_ms]

    case eval(council, "commit", [agreed, closed], argv) do
      [1, _epoch, _entry] -> {:committed, adopt(node, entry)}
      [0, _epoch, ""] -> {:lost, nil}
      [0, _epoch, bytes] -> {:lost, bytes |> Entry.read() |> elem(1)}
    end
  end

  @doc "Returns the node after it has adopted a step."
  def adopt(node, nil), do: node

  def adopt(node, entry) do
    {:ok, state} = entry.state

    %{
      node
      | status: :agreed,
        epoch: entry.epoch,
        entry: entry,
        state: state,
        scale: entry.decision.scale,
        deferred: 0
    }
  end

  @doc "Returns the node after a step from its own observation alone."
  def alone(council, node, observation, now) do
    {state, decision} = council.law.step(node.state, %{observation | limit: @rate}, now)
    %{node | status: :alone, state: state, scale: decision.scale}
  end

  @doc "Has the node meet and do what follows. Returns the action and the node."
  def turn(council, node, now, options \\ []) do
    observation = Keyword.get(options, :observation, %Observation{limit: @rate})
    urgent? = Keyword.get(options, :urgent?, false)
    view = meet(council, node, observation, now, urgent?)

    case action(node, view, urgent?) do
      {:step, from} ->
        {:committed, node} = commit(council, node, view, step(council, node, view, from))
        {{:step, from}, node}

      :adopt ->
        {:adopt, adopt(node, view.entry)}

      :defer ->
        {:defer, %{node | deferred: node.deferred + 1}}

      :wait ->
        {:wait, node}
    end
  end

  defp eval(council, script, keys, argv) do
    source = File.read!(Path.expand("../../lib/rate_limiter/agreement/#{script}.lua", __DIR__))

    Redis.command!(council.server, ["EVAL", source, length(keys)] ++ keys ++ argv)
  end
end
