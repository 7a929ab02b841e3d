defmodule Lab.Simulation.Peers.Regulator do
  @moduledoc false
  # Regulator's AIMD (elixir-toniq/regulator), every second, with its defaults: 20 calls in flight at first, 5 to
  # 200, 10 more or 0.9 of them; half of the maximum on reaching it. The default of the target latency (5 ms) does not
  # fit any size here: it is set to half of the time that clients wait.
  use Lab.Simulation.Controller

  defstruct limit: 20,
            least: 5,
            most: 200,
            backoff: 0.9,
            step: 10,
            target_ms: 500.0,
            next: 1_000.0,
            sum_ms: 0.0,
            samples: 0,
            in_flight: 0,
            dropped: false

  @impl true
  def new(setting), do: %__MODULE__{target_ms: setting.deadline_ms / 2}

  @impl true
  def admit(regulator, _now, in_flight), do: {in_flight < regulator.limit, nil, regulator}

  @impl true
  def finished(regulator, finished) do
    %{
      regulator
      | sum_ms: regulator.sum_ms + finished.duration_ms,
        samples: regulator.samples + 1,
        in_flight: max(regulator.in_flight, finished.in_flight_then),
        dropped: regulator.dropped or finished.outcome != :ok
    }
  end

  @impl true
  def next_tick(regulator), do: regulator.next

  @impl true
  def tick(regulator, now, _seen) do
    mean = if regulator.samples == 0, do: 0, else: regulator.sum_ms / regulator.samples
    limit = limit(regulator, mean, regulator.in_flight, regulator.dropped)

    %{
      regulator
      | limit: limit,
        next: now + 1_000.0,
        sum_ms: 0.0,
        samples: 0,
        in_flight: 0,
        dropped: false
    }
  end

  @impl true
  def level(regulator), do: regulator.limit

  @doc "Returns the limit after a window with this mean latency and most calls in flight."
  def limit(regulator, mean_ms, in_flight, dropped) do
    limit =
      cond do
        dropped or mean_ms > regulator.target_ms -> trunc(regulator.limit * regulator.backoff)
        in_flight * 2 >= regulator.limit -> regulator.limit + regulator.step
        true -> regulator.limit
      end

    limit = if limit >= regulator.most, do: div(limit, 2), else: limit
    limit |> max(regulator.least) |> min(regulator.most)
  end
end
