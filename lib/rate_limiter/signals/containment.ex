defmodule RateLimiter.Signals.Containment do
  @moduledoc false
  # Sources that report great pain without end. Such a source may be right, or stuck.
  #
  # The cuts that it caused stay. From now on it may hold the scale, but not lower it further. If other sources or
  # finished work show that all is well, it is ignored until it reports less.

  alias RateLimiter.Adaptive.{Histogram, Work}
  alias RateLimiter.Signals.Ledger

  # Between the stress at which laws let a limit grow (0.10) and the one at which they cut it (0.15).
  @holding 0.13

  @nothing 0.1
  @samples 10
  @failures 0.02
  @slower 1.5

  @type contained :: %{source: term, for_ms: non_neg_integer, counts: float, stated: float}

  @doc "Returns the effective levels by source, and the contained sources."
  @spec levels([Ledger.entry()], pos_integer, boolean, integer) ::
          {levels :: %{optional(term) => float}, [contained]}
  def levels(entries, stuck_after, well?, now) do
    {stuck, others} = Enum.split_with(entries, &(Ledger.stuck_for(&1, now) >= stuck_after))
    cap = if well? or contradicted?(others), do: 0.0, else: @holding
    levels = Map.new(others, &{&1.source, &1.level})

    {Enum.into(stuck, levels, &{&1.source, min(cap, &1.level)}),
     Enum.map(stuck, &contained(&1, cap, now))}
  end

  @doc "Returns whether there is enough finished work for a verdict."
  @spec enough?(Work.t()) :: boolean
  def enough?(%Work{} = work), do: Work.finished(work) >= @samples

  @doc "Returns whether work goes well: nearly no failures, and about the duration that it has without pain."
  @spec well?(Work.t(), calm_ms :: float | nil) :: boolean
  def well?(%Work{ok: 0}, _calm_ms), do: false
  def well?(_work, nil), do: false

  def well?(work, calm_ms) do
    Work.failure_ratio(work) < @failures and
      Histogram.quantile(work.latency, 0.25) <= @slower * calm_ms
  end

  # Other sources report signals, and none of them pain.
  defp contradicted?([]), do: false
  defp contradicted?(others), do: Enum.all?(others, &(&1.stated < @nothing))

  defp contained(entry, cap, now) do
    %{
      source: entry.source,
      for_ms: Ledger.stuck_for(entry, now),
      counts: min(cap, entry.level),
      stated: entry.stated
    }
  end
end
