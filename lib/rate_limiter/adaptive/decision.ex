defmodule RateLimiter.Adaptive.Decision do
  @moduledoc """
  The decision of a control law: how much to allow from now on, and why.

    * `scale` - the factor for the limit
    * `guard` - how many calls may be in flight at once, or `:infinity`
    * `from` - the scale before the decision
    * `action` - `:cut`; `:audit`, a cut was taken back because it did not help; `:grow`; `:idle`, the scale returns
      because no calls arrive; or `:hold`
    * `stress` - from 0.0, none, to 1.0
    * `binding` - the signal with the greatest stress, such as `:queue`, `:errors` or `{:pain, source}`; `nil` without
      stress
    * `held_by` - why the law did not change the scale although it wanted to; else `nil`:

      | `held_by` | reason |
      | --- | --- |
      | `:confirming` | one window is not enough |
      | `:settling` | the last cut has not taken full effect yet |
      | `:dead_band` | the stress is too high to grow and too low to cut |
      | `:not_load` | shedding would not help |
      | `:proven` | the present rate was recently answered well |
      | `:floor`, `:ceiling` | the scale is at its bound |
      | `:guard` | too many calls in flight to grow |
      | `:frozen` | cuts did not help, and the pain is escalated |

    * `sentence` - the explanation with its numbers; `nil` without anything to explain
    * `news?` - whether the decision is an event: a change, or a new reason to hold
    * `escalate?` - whether the law can do no more, so that its parent should get the pain
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
