defmodule Lab.Simulation.Controller do
  @moduledoc false
  # What stands between the clients and the resource. Every controller stands behind the same configured limit;
  # it may scale that limit, and may turn calls away by itself.

  alias RateLimiter.Adaptive.{Decision, Work}

  @type state :: term
  # Comes back with the call when it is finished.
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
          # Calls in flight when it was let in, itself included, and now.
          in_flight_then: pos_integer,
          in_flight: pos_integer,
          tag: tag
        }

  @doc "What an operator has set, and how the controller begins."
  @callback new(setting) :: state

  @doc "Whether a call may go on to the limit, with so many in flight."
  @callback admit(state, now_ms :: float, in_flight :: non_neg_integer) :: {boolean, tag, state}

  @doc "A call that was let in is finished."
  @callback finished(state, finished) :: state

  @doc "A call was denied by the limit behind `admit/3`."
  @callback limited(state) :: state

  @doc "When `tick/3` is due next, in milliseconds; `:infinity` for a controller without a clock."
  @callback next_tick(state) :: float | :infinity

  @doc "What it does by the clock. `busy` is the share of the resource's workers that work, as a CPU meter tells."
  @callback tick(state, now_ms :: float, seen) :: state

  @doc "The factor on the configured limit."
  @callback scale(state) :: float

  @doc "What it adapts, as one number to draw: calls a second, or calls in flight."
  @callback level(state) :: number | nil

  @doc "Its decisions so far that were worth an event, the last one first."
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
