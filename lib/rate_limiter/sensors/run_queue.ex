defmodule RateLimiter.Sensors.RunQueue do
  @moduledoc false
  # The number of processes that wait to run, per scheduler.

  @behaviour RateLimiter.Health

  @impl true
  def init(_options), do: nil

  @impl true
  def measure(state) do
    waiting = :erlang.statistics(:total_run_queue_lengths)
    {:ok, waiting / :erlang.system_info(:schedulers_online), state}
  end
end
