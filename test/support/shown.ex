defmodule RateLimiter.Support.Shown do
  @moduledoc false
  # An instance whose picture and snapshot the tests of top look at.

  alias RateLimiter.Adaptive.Fixed

  @doc "Starts `:top_shown`, with a limiter of two windows and two subsystems, for the calling test."
  def start do
    ExUnit.Callbacks.start_supervised!(
      {RateLimiter,
       name: :top_shown,
       limiters: [
         top_shown: [windows: [burst: [limit: 3, per: :day], slow: [limit: 1_000, per: :day]]]
       ],
       vsm: [
         interval: 86_400_000,
         sensors: [schedulers: false, run_queue: false, timer: false, memory: false],
         subsystems: [
           work: [limit: 10, per: :minute, law: Fixed],
           dry: [limit: 10, per: :minute, law: Fixed, dry_run: true]
         ]
       ]}
    )

    :ok
  end
end
