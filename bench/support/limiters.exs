defmodule Bench.Limiters do
  @moduledoc false
  # The instance of the benchmarks: limiters that deny nothing, and limiters that deny all but the first call of an id.
  #
  # A token takes a minute to come back, so buckets keep their debt from one call to the next: a full bucket is a cheaper
  # and less usual case. The burst is more than a run takes from one key.

  @wide [limit: 60, per: :hour, burst: 70_000_000]
  # The same rate, so that calls with and without a plan may take turns on a key without a conversion.
  @plan [each: [burst: 75_000_000]]
  @plans [{:pro, @plan} | for(number <- 1..999, do: {"customer #{number}", @plan})]
  @narrow [limit: 1, per: :day]
  # Full again after a millisecond, so its keys may be swept.
  @brief [limit: 1_000, per: :second]

  @doc "Starts the instance and returns its supervisor."
  @spec start() :: pid
  def start do
    {:ok, instance} =
      RateLimiter.start_link(
        name: Bench,
        stats_interval: :infinity,
        limiters: [
          wide: [windows: [each: @wide], plans: @plans, events: :denials],
          wide_events: [windows: [each: @wide], events: :all],
          two: [windows: [each: @wide, other: @wide], events: :denials],
          narrow: [windows: [each: @narrow], events: :none],
          narrow_events: [windows: [each: @narrow], events: :all],
          brief: [windows: [each: @brief], events: :denials]
        ]
      )

    instance
  end
end
