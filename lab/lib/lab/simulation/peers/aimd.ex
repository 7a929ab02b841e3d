defmodule Lab.Simulation.Peers.Aimd do
  @moduledoc false
  # Additive increase, multiplicative decrease of the calls in flight, on every sample: Netflix concurrency-limits,
  # AIMDLimit, with its defaults (20 at first, 20 to 200, back off to 0.9, a drop is a failure or 5 s).
  use Lab.Simulation.Controller

  defstruct limit: 20, least: 20, most: 200, backoff: 0.9, timeout_ms: 5_000.0

  @impl true
  def new(_setting), do: %__MODULE__{}

  @impl true
  def admit(aimd, _now, in_flight), do: {in_flight < aimd.limit, nil, aimd}

  @impl true
  def finished(aimd, finished) do
    update(aimd, finished.duration_ms, finished.in_flight_then, finished.outcome != :ok)
  end

  @impl true
  def level(aimd), do: aimd.limit

  @doc "Updates the limit by one sample."
  def update(aimd, duration_ms, in_flight, dropped) do
    limit =
      cond do
        dropped or duration_ms > aimd.timeout_ms -> trunc(aimd.limit * aimd.backoff)
        in_flight * 2 >= aimd.limit -> aimd.limit + 1
        true -> aimd.limit
      end

    %{aimd | limit: limit |> max(aimd.least) |> min(aimd.most)}
  end
end
