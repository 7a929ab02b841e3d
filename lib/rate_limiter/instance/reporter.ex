defmodule RateLimiter.Instance.Reporter do
  @moduledoc false
  # Emits `[:rate_limiter, :stats]` at every interval.

  use GenServer

  alias RateLimiter.{Instance, Telemetry}

  @doc false
  @spec start_link({Instance.t(), pos_integer | :infinity}) :: GenServer.on_start() | :ignore
  def start_link({%Instance{}, :infinity}), do: :ignore

  def start_link({%Instance{}, interval} = argument) when is_integer(interval),
    do: GenServer.start_link(__MODULE__, argument)

  @impl true
  def init({limiters, interval}) do
    schedule(interval)
    {:ok, {limiters, interval}}
  end

  @impl true
  def handle_info(:report, {limiters, interval} = state) do
    schedule(interval)
    Telemetry.stats(limiters.instance, Instance.Supervisor.stats(limiters))
    {:noreply, state}
  end

  defp schedule(interval), do: Process.send_after(self(), :report, interval)
end
