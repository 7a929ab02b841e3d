defmodule RateLimiter.Agreement.Entry do
  @moduledoc false
  # One agreed step: the decision, the node that took the step, and the law's state after it.

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Agreement
  alias RateLimiter.Core.Options

  @enforce_keys [:epoch, :at_ms, :by, :nodes, :decision, :state]
  defstruct [:epoch, :at_ms, :by, :nodes, :decision, :state, cut_epoch: 0]

  @typedoc """
  `at_ms` is Redis's time. `cut_epoch` is the last epoch with a cut, for nodes that missed it. `state` is `:unreadable`
  if it contains an atom that this node does not know.
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

  @doc "Returns the next step after an entry, if there is one."
  @spec next(t | nil, pos_integer, map, {term, Decision.t()}) :: t
  def next(entry, epoch, %{at_ms: at_ms, by: by, nodes: nodes}, {state, decision}) do
    last_cut = if entry, do: entry.cut_epoch, else: 0

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
  def write(%__MODULE__{state: {:ok, state}, decision: decision} = entry) do
    %{epoch: epoch, at_ms: at_ms, by: by, nodes: nodes, cut_epoch: cut_epoch} = entry
    # Encoded separately, since another node may not know its atoms.
    {binding, decision} = Map.pop!(Map.from_struct(decision), :binding)
    decision = {Agreement.encode(binding), Options.show(binding), Map.to_list(decision)}
    state = Agreement.encode(state)
    Agreement.encode({1, epoch, at_ms, by, nodes, cut_epoch, decision, state})
  end

  @spec read(binary) :: {:ok, t} | :error
  def read(bytes) do
    with {:ok, {1, epoch, at_ms, by, nodes, cut_epoch, decision, state}} <-
           Agreement.decode(bytes),
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
         state: with(:error <- Agreement.decode(state), do: :unreadable)
       }}
    else
      _other -> :error
    end
  end

  defp decision({binding, text, fields}) when is_list(fields) do
    decision = struct!(Decision, [{:binding, Agreement.decode(binding, text)} | fields])

    if scale?(decision.scale) and guard?(decision.guard) and is_float(decision.stress),
      do: {:ok, decision},
      else: :error
  rescue
    # Not a keyword list, or other keys.
    _error -> :error
  end

  defp decision(_other), do: :error

  defp count?(count), do: is_integer(count) and count > 0
  defp scale?(scale), do: is_number(scale) and scale > 0 and scale < 1.0e6
  defp guard?(guard), do: guard == :infinity or count?(guard)
end
