defmodule RateLimiter.Adaptive do
  @moduledoc """
  The contract of a control law: it looks at how a subsystem's work went, and says what share of its limit to allow.

  A law is a pure function over explicit state. The process that asks it keeps the clock, counts the work and
  applies the answer; the law reads no clock, sends nothing and keeps nothing elsewhere, so that a history can be
  told to it again and gives the same answers.

      defmodule MyApp.NightLaw do
        @behaviour RateLimiter.Adaptive
        alias RateLimiter.Adaptive.Decision

        @impl true
        def new(options), do: Keyword.get(options, :share, 0.5)

        @impl true
        def step(share, observation, _now_ms) do
          scale = if observation.signals[:night], do: share, else: 1.0
          {share, %Decision{scale: scale}}
        end
      end

  ## Laws that are here

    * `RateLimiter.Adaptive.Standard` - the default: the closed loop where callers report their work, signals
      where they do not
    * `RateLimiter.Adaptive.ClosedLoop` - from the duration and outcome of finished work
    * `RateLimiter.Adaptive.Signals` - from pain and pleasure alone
    * `RateLimiter.Adaptive.Fixed` - the limit as configured

  ## What a law may rely on

    * `step/3` is called about once a second, with what was seen since the last call
    * `now_ms` is a monotonic clock, in milliseconds, and never goes back
    * after a `:cut`, work that began before it is told apart (`earlier`) from work that began after it (`fresh`)
    * where nodes agree through Redis, the observation is of all of them, `observation.limit` is the sum of their limits,
      the clock is Redis's, and the state may come from another node: it is data, not processes or functions
    * a decision is applied before the next step; `observation.limit` is the limit as configured, before any scale

  A law that raises loses its step and its state, not the scale: the process goes on with the last one.
  """

  alias RateLimiter.Adaptive.{Decision, Observation}

  @type state :: term

  @doc """
  The state to begin with.

  A subsystem gives its `:floor`, `:ceiling` and `:target` (how long a call may take, in milliseconds, or `nil`), then the
  options that are written with the law, and `:scale` when it resumes after a crash: the scale that is in force.
  """
  @callback new(options :: keyword) :: state

  @doc "One step: what was seen since the last, and what follows from it."
  @callback step(state, Observation.t(), now_ms :: integer) :: {state, Decision.t()}

  @doc """
  The state for observations of `factor` times as many nodes: where nodes agree on a scale, what they saw is added
  up, and a law that remembers rates has to know when nodes come and go. Without it the state goes on as it is.
  """
  @callback resize(state, factor :: float) :: state

  @optional_callbacks resize: 2
end
