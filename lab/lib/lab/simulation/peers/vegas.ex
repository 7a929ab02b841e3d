defmodule Lab.Simulation.Peers.Vegas do
  @moduledoc false
  # TCP Vegas for calls in flight, on every sample: Netflix concurrency-limits, VegasLimit, with its defaults
  # (20 at first, at most 1,000; alpha 3, beta 6 and threshold 1 times log10 of the limit; the no-load round trip
  # is measured again after 15 to 30 times the limit samples).
  use Lab.Simulation.Controller

  defstruct limit: 20.0,
            most: 1_000,
            alpha: nil,
            beta: nil,
            no_load_ms: nil,
            probes: 0,
            jitter: 1.0,
            rand: nil

  @impl true
  def new(setting) do
    jitter(%__MODULE__{rand: :rand.seed_s(:exsss, setting.seed + 3)})
  end

  @impl true
  def admit(vegas, _now, in_flight), do: {in_flight < trunc(vegas.limit), nil, vegas}

  @impl true
  def finished(vegas, finished) do
    # A rejected call is a drop without duration.
    duration = max(finished.duration_ms, 0.001)
    update(vegas, duration, finished.in_flight_then, finished.outcome != :ok)
  end

  @impl true
  def level(vegas), do: trunc(vegas.limit)

  @doc "Updates the limit by one sample."
  def update(vegas, duration_ms, in_flight, dropped) do
    vegas = %{vegas | probes: vegas.probes + 1}

    cond do
      vegas.jitter * 30 * vegas.limit <= vegas.probes ->
        jitter(%{vegas | probes: 0, no_load_ms: duration_ms})

      vegas.no_load_ms == nil or duration_ms < vegas.no_load_ms ->
        %{vegas | no_load_ms: duration_ms}

      true ->
        change(vegas, duration_ms, in_flight, dropped)
    end
  end

  defp change(vegas, _duration_ms, _in_flight, true), do: put(vegas, vegas.limit - step(vegas))
  defp change(vegas, _duration, in_flight, _) when in_flight * 2 < vegas.limit, do: vegas

  defp change(vegas, duration_ms, _in_flight, _dropped) do
    queue = ceil(vegas.limit * (1 - vegas.no_load_ms / duration_ms))
    step = step(vegas)
    alpha = vegas.alpha || 3 * step
    beta = vegas.beta || 6 * step

    cond do
      queue <= step -> put(vegas, vegas.limit + beta)
      queue < alpha -> put(vegas, vegas.limit + step)
      queue > beta -> put(vegas, vegas.limit - step)
      true -> vegas
    end
  end

  defp put(vegas, limit), do: %{vegas | limit: limit |> min(vegas.most) |> max(1.0)}

  defp step(vegas), do: vegas.limit |> max(1.0) |> :math.log10() |> trunc() |> max(1)

  defp jitter(%{rand: nil} = vegas), do: vegas

  defp jitter(vegas) do
    {uniform, rand} = :rand.uniform_s(vegas.rand)
    %{vegas | jitter: 0.5 + uniform / 2, rand: rand}
  end
end
