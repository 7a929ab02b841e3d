defmodule RateLimiter.Adaptive.Decision do
  @moduledoc """
  What a law says: how much to allow from now on, and why.

    * `scale` - the factor to put on the limit
    * `guard` - how many calls may be in flight at once, or `:infinity`
    * `from` - the scale that was in force before
    * `action` - `:cut`, `:audit` (a cut was taken back because it did not help), `:grow`, `:idle` (nothing was
      seen, the scale returns), or `:hold`
    * `stress` - how bad it is, from 0.0 to 1.0
    * `binding` - the signal that says so, such as `:queue`, `:errors` or `{:pain, source}`; `nil` without stress
    * `held_by` - where the law wanted to change the scale but did not, what held it; else `nil`: `:confirming` (one
      window is not enough), `:settling` (the last cut still works), `:dead_band` (too much stress to grow, too little
      to cut), `:not_load` (shedding would not help), `:proven` (so much was just answered well), `:floor`, `:ceiling`,
      `:guard` (too many in flight to grow), `:frozen` (cuts did not help, it is for somebody else now)
    * `sentence` - the numbers in words, for people; `nil` where there is nothing to tell
    * `news?` - whether it is worth an event: a change, or a reason to hold that was not there before
    * `escalate?` - whether this law has done what it can, and its parent should hear of the pain
  """

  @enforce_keys [:scale]
  defstruct scale: 1.0,
            guard: :infinity,
            from: nil,
            action: :hold,
            stress: 0.0,
            binding: nil,
            held_by: nil,
            sentence: nil,
            news?: false,
            escalate?: false

  @type action :: :cut | :audit | :grow | :idle | :hold
  @type held_by ::
          nil
          | :confirming
          | :settling
          | :dead_band
          | :not_load
          | :proven
          | :floor
          | :ceiling
          | :guard
          | :frozen
  @type t :: %__MODULE__{
          scale: float,
          guard: pos_integer | :infinity,
          from: float | nil,
          action: action,
          stress: float,
          binding: nil | atom | {:pain, term},
          held_by: held_by,
          sentence: String.t() | nil,
          news?: boolean,
          escalate?: boolean
        }
end
