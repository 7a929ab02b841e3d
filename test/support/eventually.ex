defmodule RateLimiter.Support.Eventually do
  @moduledoc "Waiting for what other processes do."

  # A machine under load may stand still for seconds: the bound only ends a test that would never pass.
  @patience_ms 120_000

  @type condition :: (... -> as_boolean(term))

  @doc "Returns when the condition holds, with what it returned; raises when it does not hold for two minutes."
  @spec eventually(condition) :: term
  def eventually(condition),
    do: eventually(condition, System.monotonic_time(:millisecond) + @patience_ms)

  defp eventually(condition, deadline) do
    cond do
      result = condition.() ->
        result

      System.monotonic_time(:millisecond) > deadline ->
        raise "a condition did not hold within #{div(@patience_ms, 1_000)} s"

      true ->
        Process.sleep(2)
        eventually(condition, deadline)
    end
  end
end
