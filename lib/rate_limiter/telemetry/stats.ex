defmodule RateLimiter.Telemetry.Stats do
  @moduledoc false
  # The events of what limiters count: what is new since the last ones, and sizes as they are.

  @stats [:rate_limiter, :stats]
  @memory [:rate_limiter, :memory]

  @counted [:allowed, :denied, :unavailable, :thresholds, :would_deny]
  @sizes [:keys, :request_ids, :pending, :owing]
  @events [:overflowed, :swept, :cached_denials]

  @type counts :: map
  @type metadata :: %{instance: term, store: :local | :redis | :store, limiter: atom}

  @doc "Emits the counts of a limiter, without what `before` has already. The first time, that is `nil`."
  @spec emit(metadata, counts, counts | nil) :: :ok
  def emit(metadata, counts, before) do
    for {window, new} <- counts.windows do
      old = get_in(before, [:windows, window])
      :telemetry.execute(@stats, window(new, old), Map.put(metadata, :window, window))
    end

    :telemetry.execute(@memory, memory(counts, before), metadata)
  end

  defp window(new, old) do
    fresh = since(new, old, @counted)
    alone = since(alone(new), old && alone(old), [:allowed, :denied])

    Map.merge(fresh, %{
      checks: fresh.allowed + fresh.denied + fresh.unavailable,
      fallbacks: alone.allowed + alone.denied
    })
  end

  defp alone(%{sources: sources}), do: Map.get(sources, :fallback, %{allowed: 0, denied: 0})

  defp memory(new, old) do
    new
    |> Map.take(@sizes)
    |> Map.put(:bytes, new.memory)
    |> Map.merge(since(new, old, @events))
  end

  defp since(new, old, keys) do
    for key <- keys, count = new[key], into: %{}, do: {key, count - ((old && old[key]) || 0)}
  end
end
