defmodule Bench.Limiters do
  @moduledoc false
  # The instance that the benchmarks ask: limiters that deny nothing, and such that deny all but an id's first call.
  #
  # A token takes a minute to come back: buckets keep their debt from one visit to the next, since one that is full again
  # is a cheaper case, and not the usual one. The burst is more than a run takes of one key.

  @wide [limit: 60, per: :hour, burst: 70_000_000]
  @narrow [limit: 1, per: :day]
  # Full again a millisecond later: what it keeps may be swept.
  @brief [limit: 1_000, per: :second]

  @doc "The instance's supervisor."
  @spec start() :: pid
  def start do
    {:ok, instance} =
      RateLimiter.start_link(
        name: Bench,
        stats_interval: :infinity,
        limiters: [
          wide: [windows: [each: @wide], events: :denials],
          wide_told: [windows: [each: @wide], events: :all],
          narrow: [windows: [each: @narrow], events: :none],
          narrow_told: [windows: [each: @narrow], events: :all],
          brief: [windows: [each: @brief], events: :denials]
        ]
      )

    instance
  end
end
