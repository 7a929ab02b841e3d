defmodule RateLimiter.Agreement.View do
  @moduledoc false
  # The reply of meet.lua: the agreed step, the live nodes and their counters. And the action that follows for the node:
  # to adopt the agreed step, to take a step for all nodes, or neither.

  alias RateLimiter.Adaptive.Observation
  alias RateLimiter.Agreement.{Counters, Entry, Heartbeat}

  @enforce_keys [:at_ms, :target, :stale?, :epoch, :entry, :nodes, :others, :counters, :span]
  defstruct @enforce_keys

  @typedoc """
  `target` is the window to step, if any. `stale?` is true if no node has stepped for some windows. `nodes` are those of
  this node's group, `others` those of other groups.
  """
  @type t :: %__MODULE__{
          at_ms: integer,
          target: integer | nil,
          stale?: boolean,
          epoch: non_neg_integer,
          entry: Entry.t() | nil,
          nodes: [Heartbeat.t()],
          others: [Heartbeat.t()],
          counters: Counters.t(),
          span: {since_ms :: integer, until_ms :: integer}
        }

  @typedoc """
  The node that reads the view. `status` is `:new` before its first step, and `:alone` if it took its last step alone.
  `deferred` counts the windows in which it has let other nodes go first.
  """
  @type node_state :: %{
          epoch: non_neg_integer,
          scale: float,
          status: :new | :agreed | :alone,
          urgent?: boolean,
          deferred: non_neg_integer
        }

  # Nodes of the last step may be gone: no node waits for them longer than this.
  @max_deferred 3

  @doc "Reads the reply of `meet.lua` to a node of this group."
  @spec read(RateLimiter.Core.Native.reply(), String.t()) :: {:ok, t} | :error
  def read([now, _window, target, stale, epoch, entry, heartbeats, counts], group)
      when is_list(heartbeats) and is_list(counts) do
    fields = for {name, text} <- pairs(counts), into: %{}, do: {name, String.to_integer(text)}
    {span, counters} = Map.split(fields, ~w(since until window))
    heartbeats = for {_node, bytes} <- pairs(heartbeats), do: Heartbeat.read(bytes)
    nodes = for {:ok, heartbeat} <- heartbeats, do: heartbeat
    {nodes, others} = Enum.split_with(nodes, &(&1.group == group))
    now = String.to_integer(now)
    until = Map.get(span, "until", now)

    {:ok,
     %__MODULE__{
       at_ms: now,
       target: target(String.to_integer(target)),
       stale?: stale == 1,
       epoch: String.to_integer(epoch),
       entry: entry(entry),
       nodes: nodes,
       others: others,
       counters: counters,
       span: {Map.get(span, "since", until), until}
     }}
  rescue
    # Not a reply of the script.
    _error -> :error
  end

  def read(_other, _group), do: :error

  @doc """
  Returns the node's next action.

    * `:adopt` - adopt the agreed step
    * `:wait` - do nothing: the contribution waits for the end of its window
    * `:defer` - do nothing: the agreed step is older than what nodes have decided alone since, and a node with a lower
      scale, or one that is not back yet, goes first
    * `{:step, :agreed}` - take a step from the agreed state, for all nodes
    * `{:step, :own}` - take a step from the node's own state, for all nodes
    * `{:step, {:restart, scale}}` - restart the law from this scale, for all nodes
  """
  @spec action(t, node_state) ::
          :adopt | :wait | :defer | {:step, :agreed | :own | {:restart, float}}
  def action(%__MODULE__{} = view, node) do
    valid? = view.entry != nil and not outdated?(view, node)

    cond do
      view.target == nil or left_to_others?(view) -> passive(view, node, valid?)
      valid? and view.entry.state == :unreadable -> {:step, {:restart, view.entry.decision.scale}}
      valid? -> {:step, :agreed}
      first?(view, node) -> {:step, own(view, node)}
      true -> :defer
    end
  end

  @doc "Returns the observation of all nodes for a subsystem whose limit is `rate` on each node."
  @spec observation(t, float) :: Observation.t()
  def observation(%__MODULE__{span: {since, until}} = view, rate) do
    view.counters
    |> Counters.observation()
    |> Heartbeat.complete(view.nodes)
    |> Map.merge(%{limit: rate * size(view), elapsed_ms: max(until - since, 1)})
  end

  @doc "Returns the number of nodes that agree, including this one."
  @spec size(t) :: pos_integer
  def size(%__MODULE__{nodes: nodes}), do: max(length(nodes), 1)

  # No node has continued from the entry. A new node adopts it nevertheless, since it knows nothing better.
  defp outdated?(_view, %{status: :new}), do: false
  defp outdated?(%{stale?: true}, _node), do: true
  defp outdated?(%{epoch: epoch}, %{status: :alone, epoch: epoch}), do: true
  defp outdated?(_view, _node), do: false

  defp passive(view, node, valid?),
    do: if(valid? and view.epoch != node.epoch, do: :adopt, else: :wait)

  # Other nodes can read the state.
  defp left_to_others?(%{entry: %Entry{state: :unreadable}, stale?: false}), do: true
  defp left_to_others?(_view), do: false

  # The lowest scale goes first: a scale that is too low recovers in seconds, one that is too high overloads.
  defp first?(_view, %{urgent?: true}), do: true
  defp first?(_view, %{deferred: deferred}) when deferred >= @max_deferred, do: true

  defp first?(%{nodes: nodes, entry: entry}, node) do
    complete? = entry == nil or length(nodes) >= entry.nodes
    complete? and node.scale <= lowest(nodes) + 1.0e-9
  end

  # A group without any agreed step is one of nodes that have just started with another configuration.
  defp own(%{epoch: 0, others: [_ | _] = others}, %{status: :new} = node) do
    if lowest(others) < node.scale, do: {:restart, lowest(others)}, else: :own
  end

  defp own(_view, _node), do: :own

  defp lowest(heartbeats), do: heartbeats |> Enum.map(& &1.scale) |> Enum.min(fn -> 1.0e6 end)

  defp entry(bytes) do
    case Entry.read(bytes) do
      {:ok, entry} -> entry
      :error -> nil
    end
  end

  defp target(window) when window < 0, do: nil
  defp target(window), do: window

  defp pairs(flat), do: for([name, value] <- Enum.chunk_every(flat, 2), do: {name, value})
end
