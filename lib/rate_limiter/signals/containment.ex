defmodule RateLimiter.Signals.Containment do
  @moduledoc false
  # What to make of a source that reports the worst without end.
  #
  # It may be right, or stuck. What was cut for it is cut; from here on it may hold the scale where it is but
  # not lower it further. Where others know that the work goes well, it is not heard at all until it says less.

  alias RateLimiter.Adaptive.{Histogram, Work}
  alias RateLimiter.Signals.Ledger

  # Between the stress at which laws let a limit grow (0.10) and the one at which they cut it (0.15).
  @holding 0.13

  @nothing 0.1
  @samples 10
  @failures 0.02
  @slower 1.5

  @type t :: {levels :: %{optional(term) => float}, [contained]}
  @type contained :: %{source: term, for_ms: non_neg_integer, counts: float, stated: float}

  @doc "The levels that count, by source, and the sources that are contained."
  @spec levels([Ledger.entry()], pos_integer, boolean, integer) :: t
  def levels(entries, stuck_after, well?, now) do
    {stuck, others} = Enum.split_with(entries, &(Ledger.stuck_for(&1, now) >= stuck_after))
    most = if well? or contradicted?(others), do: 0.0, else: @holding
    counts = Map.new(others, &{&1.source, &1.level})

    {Enum.into(stuck, counts, &{&1.source, min(most, &1.level)}),
     Enum.map(stuck, &contained(&1, most, now))}
  end

  @doc "Whether there is enough finished work to say something."
  @spec enough?(Work.t()) :: boolean
  def enough?(%Work{} = work), do: Work.finished(work) >= @samples

  @doc "Whether it says that all is well: nothing fails, and it takes about as long as without pain."
  @spec well?(Work.t(), calm_ms :: float | nil) :: boolean
  def well?(%Work{ok: 0}, _calm_ms), do: false
  def well?(_work, nil), do: false

  def well?(work, calm_ms) do
    Work.failure_ratio(work) < @failures and
      Histogram.quantile(work.latency, 0.25) <= @slower * calm_ms
  end

  # Somebody else speaks, and is not in pain.
  defp contradicted?([]), do: false
  defp contradicted?(others), do: Enum.all?(others, &(&1.stated < @nothing))

  defp contained(entry, most, now),
    do: %{
      source: entry.source,
      for_ms: Ledger.stuck_for(entry, now),
      counts: min(most, entry.level),
      stated: entry.stated
    }
end
