defmodule RateLimiter.Agreement.View do
  @moduledoc false
  # What a node hears when it has brought what it saw, and what follows for it: to take up what is agreed, to take the
  # step of a window for all, or neither.

  alias RateLimiter.Adaptive.Observation
  alias RateLimiter.Agreement.{Counters, Entry, Heartbeat}

  @enforce_keys [:at_ms, :target, :silent?, :epoch, :record, :nodes, :others, :tally, :span]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          at_ms: integer,
          target: integer | nil,
          silent?: boolean,
          epoch: non_neg_integer,
          record: Entry.t() | nil,
          nodes: [Heartbeat.t()],
          others: [Heartbeat.t()],
          tally: Counters.t(),
          span: {since_ms :: integer, until_ms :: integer}
        }

  @typedoc """
  How the node stands that hears it: `standing` is `:fresh` if it has not yet taken a step or taken one up, and `:alone`
  if its last one was its own; `deferred`, for how many windows it has let others go first.
  """
  @type mine :: %{
          epoch: non_neg_integer,
          scale: float,
          standing: :fresh | :agreed | :alone,
          urgent?: boolean,
          deferred: non_neg_integer
        }

  # Nodes that were there a moment ago may have gone: for longer nobody is waited for.
  @most_deferred 3

  @doc "The reply of `meet.lua` to a node of this group."
  @spec read(RateLimiter.Core.Native.reply(), String.t()) :: {:ok, t} | :error
  def read([now, _window, target, silent, epoch, record, roster, counts], group)
      when is_list(roster) and is_list(counts) do
    {span, tally} = counts |> pairs() |> Map.new(&number/1) |> Map.split(~w(since until window))
    {nodes, others} = roster |> presences() |> Enum.split_with(&(&1.group == group))
    now = String.to_integer(now)
    until = Map.get(span, "until", now)

    {:ok,
     %__MODULE__{
       at_ms: now,
       target: target(String.to_integer(target)),
       silent?: silent == 1,
       epoch: String.to_integer(epoch),
       record: record(record),
       nodes: nodes,
       others: others,
       tally: tally,
       span: {Map.get(span, "since", until), until}
     }}
  rescue
    # Not what the script says: whatever it is, nothing can be agreed by it.
    _error -> :error
  end

  def read(_other, _group), do: :error

  @doc """
  What the node does now.

    * `:adopt` - takes up what is agreed
    * `:wait` - nothing: what it brought awaits the end of its window
    * `:defer` - nothing: what was agreed is behind what nodes went through since, and another one holds a lower scale,
      or is not back yet: let that one begin
    * `{:step, :theirs}` - steps from what is agreed
    * `{:step, :own}` - steps from its own state, for all
    * `{:step, {:anew, scale}}` - begins anew from this scale, for all
  """
  @spec verdict(t, mine) ::
          :adopt | :wait | :defer | {:step, :theirs | :own | {:anew, float}}
  def verdict(%__MODULE__{} = meeting, mine) do
    holds? = meeting.record != nil and not behind?(meeting, mine)

    cond do
      meeting.target == nil or unreadable?(meeting) -> passive(meeting, mine, holds?)
      holds? and meeting.record.state == :unreadable -> {:step, anew(meeting)}
      holds? -> {:step, :theirs}
      first?(meeting, mine) -> {:step, own(meeting, mine)}
      true -> :defer
    end
  end

  @doc "What all nodes saw, of a subsystem whose limit is `rate` on each of them."
  @spec observation(t, float) :: Observation.t()
  def observation(%__MODULE__{span: {since, until}} = meeting, rate) do
    meeting.tally
    |> Counters.observation()
    |> Heartbeat.complete(meeting.nodes)
    |> Map.merge(%{limit: rate * size(meeting), elapsed_ms: max(until - since, 1)})
  end

  @doc "How many nodes agree, this one among them."
  @spec size(t) :: pos_integer
  def size(%__MODULE__{nodes: nodes}), do: max(length(nodes), 1)

  # Nobody went on with it. But a node that knows nothing takes it.
  defp behind?(_meeting, %{standing: :fresh}), do: false
  defp behind?(%{silent?: true}, _mine), do: true
  defp behind?(%{epoch: epoch}, %{standing: :alone, epoch: epoch}), do: true
  defp behind?(_meeting, _mine), do: false

  defp passive(meeting, mine, holds?),
    do: if(holds? and meeting.epoch != mine.epoch, do: :adopt, else: :wait)

  # There are others who can read it.
  defp unreadable?(%{record: %Entry{state: :unreadable}, silent?: false}), do: true
  defp unreadable?(_meeting), do: false

  # The lowest scale first: one that is too low is made up for in seconds, one that is too high brings the work down.
  defp first?(_meeting, %{urgent?: true}), do: true
  defp first?(_meeting, %{deferred: deferred}) when deferred >= @most_deferred, do: true

  defp first?(%{nodes: nodes, record: record}, mine) do
    all? = record == nil or length(nodes) >= record.nodes
    all? and mine.scale <= least(nodes) + 1.0e-9
  end

  # A group that has never agreed on anything is one of nodes that have just come with another configuration.
  defp own(%{epoch: 0, others: [_ | _] = others}, %{standing: :fresh} = mine) do
    if least(others) < mine.scale, do: {:anew, least(others)}, else: :own
  end

  defp own(_meeting, _mine), do: :own

  defp anew(meeting), do: {:anew, meeting.record.decision.scale}

  defp least(presences), do: presences |> Enum.map(& &1.scale) |> Enum.min(fn -> 1.0e6 end)

  defp presences(roster) do
    for {_node, words} <- pairs(roster), {:ok, presence} <- [Heartbeat.read(words)], do: presence
  end

  defp record(""), do: nil

  defp record(bytes) do
    case Entry.read(bytes) do
      {:ok, record} -> record
      :error -> nil
    end
  end

  defp target(window) when window < 0, do: nil
  defp target(window), do: window

  defp number({name, text}), do: {name, String.to_integer(text)}
  defp pairs(flat), do: for([name, value] <- Enum.chunk_every(flat, 2), do: {name, value})
end
