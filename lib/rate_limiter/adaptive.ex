defmodule RateLimiter.Adaptive do
  @moduledoc """
  The behaviour of a control law: from an observation of a subsystem's work, the law decides which share of the limit
  to allow.

  A law is a pure function over explicit state. The calling process keeps the clock, counts the work and applies
  decisions. The law reads no clock, sends no messages and stores nothing elsewhere, so that a recorded history can be
  replayed with the same decisions.

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

  ## Built-in laws

    * `RateLimiter.Adaptive.Standard` - the default: the closed loop for subsystems whose callers report their work,
      signals for all others
    * `RateLimiter.Adaptive.ClosedLoop` - decides by duration and outcome of finished work
    * `RateLimiter.Adaptive.Signals` - decides by pain and pleasure alone
    * `RateLimiter.Adaptive.Fixed` - keeps the limit as configured

  ## Guarantees

    * `step/3` is called about once a second, with the observation since the last call.
    * `now_ms` is a monotonic clock in milliseconds and never goes back.
    * After a `:cut`, work that began before the cut (`earlier`) is separate from work that began after it (`fresh`).
    * If nodes agree through Redis, the observation is the sum over all nodes, `observation.limit` is the sum of their
      limits, the clock is Redis's, and the state may come from another node. So the state must be data, without
      processes or functions.
    * A decision is applied before the next step. `observation.limit` is the configured limit, before any scale.

  A law that raises loses this step and its state, but not the scale: the last scale stays in force.
  """

  alias RateLimiter.Adaptive.{Decision, Observation}
  alias RateLimiter.Core.Options

  @type state :: term

  @positive {:custom, &__MODULE__.positive?/1, "a positive number"}
  @options [
    scale: [type: {:or, [@positive, {:in, [nil]}]}],
    floor: [type: @positive, default: 0.1],
    ceiling: [type: @positive, default: 1.0],
    target: [type: {:or, [@positive, {:in, [nil]}]}]
  ]

  @doc """
  Returns the initial state.

  A subsystem passes its `:floor`, `:ceiling` and `:target` (how long a call may take, in milliseconds, or `nil`), then the
  options that are configured with the law, and `:scale`, the scale in force, if the law resumes after a crash.
  """
  @callback new(options :: keyword) :: state

  @doc "Returns the next state and a decision, from the observation since the last step."
  @callback step(state, Observation.t(), now_ms :: integer) :: {state, Decision.t()}

  @doc """
  Returns the state for observations of `factor` times as many nodes.

  When nodes agree on a scale, their observations are added up. A law that remembers rates has to know when nodes join
  and leave. A law without this callback keeps its state unchanged.
  """
  @callback resize(state, factor :: float) :: state

  @optional_callbacks resize: 2

  @doc false
  # The options that the laws of this library share: validated, and reduced to those that a law keeps.
  @spec validate!(keyword, [atom]) :: keyword
  def validate!(options, kept) do
    %{floor: floor, ceiling: ceiling} = valid = Options.validate!(options, @options, [:law])

    if floor > ceiling,
      do: Options.expected!([:law, :floor], "at most the ceiling, #{ceiling}", floor)

    for {key, value} <- valid, key in kept and value != nil do
      {key, if(key == :scale, do: value |> max(floor) |> min(ceiling), else: value)}
    end
  end

  @doc false
  def positive?(value), do: is_number(value) and value > 0 and value <= 1.0e15
end
