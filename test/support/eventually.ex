defmodule RateLimiter.Support.Eventually do
  @moduledoc "Waiting for what other processes do."

  # A machine under load may stand still for seconds: the bound only ends a test that would never pass.
  @patience_ms 120_000

  @type condition :: (... -> as_boolean(term))

  @doc """
  Returns when the condition holds, with what it returned.

  Raises when it does not hold for two minutes, with what `found` returns then.
  """
  @spec eventually(condition, (... -> term)) :: term
  def eventually(condition, found \\ fn -> nil end),
    do: eventually(condition, found, System.monotonic_time(:millisecond) + @patience_ms)

  defp eventually(condition, found, deadline) do
    cond do
      result = condition.() ->
        result

      System.monotonic_time(:millisecond) > deadline ->
        raise "a condition did not hold within #{div(@patience_ms, 1_000)} s: #{inspect(found.())}"

      true ->
        Process.sleep(2)
        eventually(condition, found, deadline)
    end
  end
end
