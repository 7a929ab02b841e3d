defmodule RateLimiter.Sensors.Mailboxes do
  @moduledoc false
  # The longest message queue of the watched processes.

  @behaviour RateLimiter.Health

  @impl true
  def init(options), do: Keyword.fetch!(options, :watch)

  # A process that does not run has no queue.
  @impl true
  def measure(watched) do
    case for(process <- watched, length = queue(process), do: length) do
      [] -> {:no_opinion, "none of #{inspect(watched)} is running", watched}
      lengths -> {:ok, Enum.max(lengths), watched}
    end
  end

  defp queue(name) when is_atom(name),
    do: with(pid when is_pid(pid) <- Process.whereis(name), do: queue(pid))

  defp queue(pid) do
    with {:message_queue_len, length} <- Process.info(pid, :message_queue_len), do: length
  end
end
