defmodule RateLimiter.Agreement.Entry do
  @moduledoc false
  # One step that the nodes agreed on: what was decided, by whom, and the law's state after it.

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Agreement.Codec

  @enforce_keys [:epoch, :at_ms, :by, :nodes, :decision, :state]
  defstruct [:epoch, :at_ms, :by, :nodes, :decision, :state, cut_epoch: 0]

  @typedoc """
  When it was is Redis's time. `cut_epoch` is the last epoch that was a cut, for nodes that missed it. `state` is
  `:unreadable` where this node does not know something in it.
  """
  @type t :: %__MODULE__{
          epoch: pos_integer,
          at_ms: integer,
          by: String.t(),
          nodes: pos_integer,
          decision: Decision.t(),
          state: {:ok, term} | :unreadable,
          cut_epoch: non_neg_integer
        }

  @doc "The step that follows: from this record, where there is one."
  @spec next(t | nil, pos_integer, map, {term, Decision.t()}) :: t
  def next(record, epoch, %{at_ms: at_ms, by: by, nodes: nodes}, {state, decision}) do
    last_cut = if record, do: record.cut_epoch, else: 0

    %__MODULE__{
      epoch: epoch,
      at_ms: at_ms,
      by: by,
      nodes: nodes,
      decision: decision,
      state: {:ok, state},
      cut_epoch: if(decision.action == :cut, do: epoch, else: last_cut)
    }
  end

  @spec write(t) :: binary
  def write(%__MODULE__{state: {:ok, state}, decision: decision} = record) do
    %{epoch: epoch, at_ms: at_ms, by: by, nodes: nodes, cut_epoch: cut_epoch} = record
    # What an older node or one with other sources may not know is packed by itself.
    {binding, decision} = Map.pop!(Map.from_struct(decision), :binding)
    decision = {Codec.write(binding), inspect(binding), Map.to_list(decision)}
    Codec.write({1, epoch, at_ms, by, nodes, cut_epoch, decision, Codec.write(state)})
  end

  @spec read(binary) :: {:ok, t} | :error
  def read(bytes) do
    with {:ok, {1, epoch, at_ms, by, nodes, cut_epoch, decision, state}} <- Codec.read(bytes),
         true <- count?(epoch) and is_integer(at_ms) and is_binary(by) and count?(nodes),
         true <- is_integer(cut_epoch),
         {:ok, decision} <- decision(decision) do
      {:ok,
       %__MODULE__{
         epoch: epoch,
         at_ms: at_ms,
         by: by,
         nodes: nodes,
         cut_epoch: cut_epoch,
         decision: decision,
         state: state(state)
       }}
    else
      _other -> :error
    end
  end

  defp decision({binding, words, fields}) when is_list(fields) do
    decision = struct!(Decision, [{:binding, binding(binding, words)} | fields])

    if scale?(decision.scale) and guard?(decision.guard) and is_float(decision.stress),
      do: {:ok, decision},
      else: :error
  rescue
    # Not a keyword list, or not of these keys.
    _error -> :error
  end

  defp decision(_other), do: :error

  defp binding(binding, words) do
    case Codec.read(binding) do
      {:ok, binding} -> binding
      :error -> words
    end
  end

  defp state(state) do
    with :error <- Codec.read(state), do: :unreadable
  end

  defp count?(count), do: is_integer(count) and count > 0
  defp scale?(scale), do: is_number(scale) and scale > 0 and scale < 1.0e6
  defp guard?(guard), do: guard == :infinity or count?(guard)
end
