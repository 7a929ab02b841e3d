defmodule RateLimiter.Instance.Checkpointer do
  @moduledoc false
  # Writes checkpoints at an interval, and the last one when the instance stops in order. It starts after the writer, so it
  # stops before the writer drops the limiters, and after everything else that may still count.

  use GenServer, shutdown: 60_000

  alias RateLimiter.Instance
  alias RateLimiter.Instance.Checkpoint

  @doc false
  @spec start_link({Instance.t(), Checkpoint.t()}) :: GenServer.on_start()
  def start_link({%Instance{}, %{}} = argument), do: GenServer.start_link(__MODULE__, argument)

  @impl true
  def init({_instance, checkpoint} = state) do
    Process.flag(:trap_exit, true)
    schedule(checkpoint)
    {:ok, state}
  end

  @impl true
  def handle_info(:save, {instance, checkpoint} = state) do
    Checkpoint.save(instance, checkpoint)
    schedule(checkpoint)
    {:noreply, state}
  end

  # After a crash of this process alone the limiters go on, and its successor writes them.
  @impl true
  def terminate(:shutdown, {instance, checkpoint}), do: Checkpoint.save(instance, checkpoint)
  def terminate(_reason, _state), do: :ok

  defp schedule(%{every: :infinity}), do: :ok
  defp schedule(%{every: every}), do: Process.send_after(self(), :save, every)
end
