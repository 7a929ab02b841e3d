defmodule RateLimiter.Store.Counts do
  @moduledoc false
  # The counts of a limiter, from the native library's.

  alias RateLimiter.Core.Native

  @type decisions :: %{allowed: non_neg_integer, denied: non_neg_integer}
  @type window :: %{
          allowed: non_neg_integer,
          denied: non_neg_integer,
          unavailable: non_neg_integer,
          thresholds: non_neg_integer,
          would_deny: non_neg_integer,
          sources: %{optional(:local | :redis | :store | :fallback) => decisions}
        }

  @doc "Returns the counts of a limiter: its windows by name, and their sums as `:checks` and `:denials`."
  @spec of_limiter(%{required(:windows) => [Native.window_stats()], optional(atom) => term}) ::
          map
  def of_limiter(stats) do
    windows = Map.new(stats.windows, &window/1)

    stats
    |> Map.drop([:slots, :away])
    |> Map.merge(%{
      windows: windows,
      checks: sum(windows, [:allowed, :denied, :unavailable]),
      denials: sum(windows, [:denied])
    })
    |> away(stats)
  end

  defp window({name, sources, passed, would_deny}) do
    {name,
     %{
       allowed: sources |> Enum.map(&elem(&1, 1)) |> Enum.sum(),
       denied: sources |> Enum.map(&elem(&1, 2)) |> Enum.sum(),
       unavailable: sources |> Enum.map(&elem(&1, 3)) |> Enum.sum(),
       thresholds: passed,
       would_deny: would_deny,
       sources:
         for(
           {source, allowed, denied, _} <- sources,
           into: %{},
           do: {source, %{allowed: allowed, denied: denied}}
         )
     }}
  end

  defp sum(windows, keys) do
    Enum.sum(for {_name, window} <- windows, key <- keys, do: Map.fetch!(window, key))
  end

  defp away(counts, %{away: away?}), do: Map.put(counts, :away?, away?)
  defp away(counts, _local), do: counts
end
