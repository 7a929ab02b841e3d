defmodule RateLimiter.Sensors.Mailboxes do
  @moduledoc false
  # The longest message queue of the processes that are watched.

  @behaviour RateLimiter.Health

  @impl true
  def init(options), do: Keyword.fetch!(options, :watch)

  # One that does not run has no queue; where none runs, nobody knows.
  @impl true
  def measure(watched) do
    case for(who <- watched, length = queue(who), do: length) do
      [] -> {:no_opinion, "none of #{inspect(watched)} runs", watched}
      lengths -> {:ok, Enum.max(lengths), watched}
    end
  end

  defp queue(name) when is_atom(name),
    do: with(pid when is_pid(pid) <- Process.whereis(name), do: queue(pid))

  defp queue(pid) do
    with {:message_queue_len, length} <- Process.info(pid, :message_queue_len), do: length
  end
end
