defmodule RateLimiter.Adaptive.Standard do
  @moduledoc """
  The default law: `RateLimiter.Adaptive.ClosedLoop` while callers report their work, otherwise
  `RateLimiter.Adaptive.Signals`.

  Callers report their work if some is in flight, or was reported in the last ten minutes. The scale stays the same
  when one law replaces the other.

  Options: those of `RateLimiter.Adaptive.ClosedLoop`.
  """

  @behaviour RateLimiter.Adaptive

  alias RateLimiter.Adaptive.{ClosedLoop, Observation, Signals, Work}

  @forget_ms 600_000

  @enforce_keys [:loop, :signals]
  defstruct [:loop, :signals, reported_at: nil]

  @impl true
  def new(options) do
    %__MODULE__{
      loop: ClosedLoop.new(options),
      signals: Signals.new(options)
    }
  end

  @impl true
  def step(%__MODULE__{} = state, %Observation{} = observation, now_ms) do
    Observation.check!(observation)
    state = if reports?(observation), do: %{state | reported_at: now_ms}, else: state

    if state.reported_at != nil and now_ms - state.reported_at <= @forget_ms,
      do: closed_loop(state, observation, now_ms),
      else: signals(state, observation, now_ms)
  end

  @impl true
  def resize(%__MODULE__{} = state, factor),
    do: %{state | loop: ClosedLoop.resize(state.loop, factor)}

  defp closed_loop(state, observation, now_ms) do
    {loop, decision} = ClosedLoop.step(state.loop, observation, now_ms)
    {%{state | loop: loop, signals: %{state.signals | scale: decision.scale}}, decision}
  end

  defp signals(state, observation, now_ms) do
    {signals, decision} = Signals.step(state.signals, observation, now_ms)
    {%{state | signals: signals, loop: %{state.loop | scale: decision.scale}}, decision}
  end

  defp reports?(observation) do
    observation.in_flight > 0 or
      Work.finished(observation.fresh) + Work.finished(observation.earlier) > 0
  end
end
