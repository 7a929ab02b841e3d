defmodule RateLimiter.Sensors.Schedulers do
  @moduledoc false
  # The share of time since the last reading in which the normal schedulers were busy.

  @behaviour RateLimiter.Health

  @impl true
  def init(_options), do: nil

  # The runtime measures as long as the process that has set the flag lives.
  @impl true
  def measure(nil) do
    :erlang.system_flag(:scheduler_wall_time, true)
    {:no_opinion, "the first reading starts the interval", times()}
  end

  def measure(before) do
    now = times()
    {active, total} = since(before, now)
    if total > 0, do: {:ok, active / total, now}, else: {:no_opinion, "no time has passed", now}
  end

  # Dirty schedulers have higher ids.
  defp times do
    normal = :erlang.system_info(:schedulers)

    for {number, active, total} <- :erlang.statistics(:scheduler_wall_time),
        number <= normal,
        do: {number, active, total}
  end

  defp since(before, now) do
    Enum.zip_reduce(Enum.sort(before), Enum.sort(now), {0, 0}, fn {n, a0, t0},
                                                                  {n, a1, t1},
                                                                  {active, total} ->
      {active + a1 - a0, total + t1 - t0}
    end)
  end
end
