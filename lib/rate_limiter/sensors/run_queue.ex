defmodule RateLimiter.Sensors.RunQueue do
  @moduledoc false
  # How many processes wait to run, for each scheduler.

  @behaviour RateLimiter.Health

  @impl true
  def init(_options), do: nil

  @impl true
  def measure(state),
    do:
      {:ok,
       :erlang.statistics(:total_run_queue_lengths) / :erlang.system_info(:schedulers_online),
       state}
end
