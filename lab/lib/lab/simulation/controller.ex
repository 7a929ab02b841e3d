defmodule Lab.Simulation.Controller do
  @moduledoc false
  # A controller between clients and resource. All controllers have the same configured limit behind them. A controller
  # may scale that limit, and may deny calls itself.

  alias RateLimiter.Adaptive.{Decision, Work}

  @type state :: term
  # Returned with the call when it is finished.
  @type tag :: term
  @type setting :: %{
          limit: float,
          deadline_ms: float,
          target_ms: float | nil,
          workers: pos_integer,
          seed: integer
        }
  @type seen :: %{in_flight: non_neg_integer, busy: float, pain: %{optional(term) => float}}
  @type finished :: %{
          now: float,
          outcome: Work.outcome(),
          duration_ms: float,
          # Calls in flight, this one included: when it was admitted, and now.
          in_flight_then: pos_integer,
          in_flight: pos_integer,
          tag: tag
        }

  @doc "Returns the first state for these settings."
  @callback new(setting) :: state

  @doc "Returns whether a call is passed on to the limit, and a tag for it."
  @callback admit(state, now_ms :: float, in_flight :: non_neg_integer) :: {boolean, tag, state}

  @doc "Handles the end of an admitted call."
  @callback finished(state, finished) :: state

  @doc "Handles a call that the limit behind `admit/3` denied."
  @callback limited(state) :: state

  @doc "Returns when `tick/3` is due, in milliseconds; `:infinity` for a controller without a clock."
  @callback next_tick(state) :: float | :infinity

  @doc "Handles a tick of the clock. `busy` is the share of the workers that are busy, as a CPU meter shows it."
  @callback tick(state, now_ms :: float, seen) :: state

  @doc "Returns the factor on the configured limit."
  @callback scale(state) :: float

  @doc "Returns the adapted value for the chart: calls per second, or calls in flight."
  @callback level(state) :: number | nil

  @doc "Returns the decisions that an application would get as events, the latest first."
  @callback decisions(state) :: [{float, Decision.t()}]

  defmacro __using__(_options) do
    quote do
      @behaviour Lab.Simulation.Controller

      @impl true
      def limited(state), do: state
      @impl true
      def next_tick(_state), do: :infinity
      @impl true
      def tick(state, _now, _seen), do: state
      @impl true
      def scale(_state), do: 1.0
      @impl true
      def decisions(_state), do: []

      defoverridable limited: 1, next_tick: 1, tick: 3, scale: 1, decisions: 1
    end
  end
end
