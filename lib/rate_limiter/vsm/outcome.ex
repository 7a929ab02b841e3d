defmodule RateLimiter.VSM.Outcome do
  @moduledoc false
  # The outcome of work for the law: whether the protected resource succeeded.

  alias RateLimiter.Core.Options

  @type t :: :ok | :error | :timeout | :rejected | :none

  @all [:ok, :error, :timeout, :rejected, :none]

  @doc "Returns the outcome of a result. `judge` is a function of the result, an outcome, or nil."
  @spec of_result(term, (term -> t) | t | nil) :: t
  def of_result(result, nil), do: default(result)

  def of_result(result, judge) when is_function(judge) do
    case judge.(result) do
      outcome when outcome in @all ->
        outcome

      other ->
        raise ArgumentError,
              "outcome: expected the function to return one of #{Enum.map_join(@all, ", ", &inspect/1)}, " <>
                "got: #{Options.show(other)}"
    end
  end

  def of_result(_result, outcome), do: outcome

  @doc "Returns the outcome of work that ended without a result."
  @spec of_end(:error | :exit | :throw, term) :: t
  def of_end(:exit, reason), do: of_exit(reason)
  def of_end(_kind, _reason), do: :error

  defp default({:error, _reason}), do: :error
  # Denied by a limit of this library, so the resource was not called.
  defp default({:error, :rate_limited, %RateLimiter.Usage{}}), do: :none
  defp default(_result), do: :ok

  defp of_exit(reason) when reason in [:normal, :shutdown], do: :none
  defp of_exit({reason, _call}) when reason in [:normal, :shutdown], do: :none
  defp of_exit({{:shutdown, _reason}, _call}), do: :none
  defp of_exit(:timeout), do: :timeout
  defp of_exit({:timeout, _call}), do: :timeout
  defp of_exit(_reason), do: :error
end
