defmodule Lab.Simulation.Peers.Envoy do
  @moduledoc false
  # Envoy's adaptive concurrency filter, its gradient controller, with its defaults (the median, at least 3 and at
  # most 1,000 in flight, a buffer of 25 %, 50 requests to measure the round trip without load, jitter 15 %) and
  # the intervals of its documentation's example (0.1 s and 60 s; they have no default). A rejection
  # by the resource is an answer to Envoy, and a sample; a timeout is not.
  use Lab.Simulation.Controller

  alias RateLimiter.Adaptive.Histogram

  @update_ms 100.0
  @measure_ms 60_000.0
  @jitter 0.15

  defstruct limit: 3,
            least: 3,
            most: 1_000,
            buffer: 0.25,
            requests: 50,
            base_ms: nil,
            samples: %Histogram{},
            measuring: true,
            measuring_since: 0.0,
            deferred: 3,
            at_least: 0,
            next_update: @update_ms,
            next_measure: :infinity,
            rand: nil

  @impl true
  def new(setting), do: %__MODULE__{rand: :rand.seed_s(:exsss, setting.seed + 4)}

  @impl true
  def admit(envoy, now, in_flight), do: {in_flight < envoy.limit, now, envoy}

  @impl true
  def finished(envoy, %{outcome: :timeout}), do: envoy
  def finished(%{measuring_since: since} = envoy, %{tag: started}) when started < since, do: envoy

  def finished(envoy, finished) do
    samples = Histogram.record(envoy.samples, round(finished.duration_ms * 1_000))
    envoy = %{envoy | samples: samples}

    if envoy.measuring and samples.count >= envoy.requests,
      do: measured(envoy, finished.now),
      else: envoy
  end

  @impl true
  def next_tick(%{measuring: true}), do: :infinity
  def next_tick(envoy), do: min(envoy.next_update, envoy.next_measure)

  @impl true
  def tick(envoy, now, _seen) do
    if now >= envoy.next_measure,
      do: measure(envoy, now),
      else: update(%{envoy | next_update: now + @update_ms})
  end

  @impl true
  def level(envoy), do: envoy.limit

  defp measure(envoy, now) do
    %{
      envoy
      | measuring: true,
        measuring_since: now,
        deferred: envoy.limit,
        limit: envoy.least,
        at_least: 0,
        samples: %Histogram{}
    }
  end

  defp measured(envoy, now) do
    {uniform, rand} = :rand.uniform_s(envoy.rand)

    %{
      envoy
      | measuring: false,
        base_ms: median(envoy.samples),
        limit: envoy.deferred,
        samples: %Histogram{},
        next_update: now + @update_ms,
        next_measure: now + @measure_ms * (1 + @jitter * uniform),
        rand: rand
    }
  end

  defp update(%{samples: %Histogram{count: 0}} = envoy), do: envoy

  defp update(envoy) do
    limit = limit(envoy, median(envoy.samples))
    again = limit == envoy.least and envoy.limit == envoy.least
    at_least = if again, do: envoy.at_least + 1, else: 0
    envoy = %{envoy | limit: limit, samples: %Histogram{}, at_least: at_least}
    # After five windows at the minimum the measured round trip may be wrong.
    if at_least >= 5, do: %{envoy | next_measure: envoy.next_update}, else: envoy
  end

  @doc "Returns the limit after a window with this median."
  def limit(envoy, sample_ms) do
    gradient = (envoy.base_ms * (1 + envoy.buffer) / sample_ms) |> min(2.0) |> max(0.5)
    raw = envoy.limit * gradient
    (raw + :math.sqrt(raw)) |> trunc() |> min(envoy.most) |> max(envoy.least)
  end

  defp median(samples), do: max(Histogram.quantile(samples, 0.5), 0.001)
end
