defmodule RateLimiter.Adaptive.ClosedLoop.Change do
  @moduledoc false
  # How far the scale moves.

  alias RateLimiter.Adaptive.ClosedLoop.Memory

  @most_at_once 0.3
  # Near where it was cut it goes on slowly, for some windows: that may have been the edge.
  @near 3
  @near_share 0.8
  @near_pace 0.03
  @fastest 0.2
  @most_grown 2.0

  @doc "Where a cut goes, or what holds it."
  @spec cut(map, map, number) :: {float, nil | :floor | :proven}
  def cut(state, reading, limit) do
    wanted = state.scale * (1 - @most_at_once * reading.stress)
    kept = kept(state, reading, limit)
    to = state.floor |> max(wanted) |> max(kept) |> min(state.scale)

    cond do
      to < state.scale -> {to, nil}
      kept >= state.scale -> {to, :proven}
      true -> {to, :floor}
    end
  end

  # Never below what was proven to go through; of that less where most of it failed, for a queue of calls whose
  # callers are gone to drain. Pain is not about what goes through.
  defp kept(_state, %{binding: {:pain, _source}}, _limit), do: 0.0

  defp kept(state, reading, limit) do
    factor = if reading.errors > 0.5, do: 0.7, else: 1.0
    factor * Memory.proven(state.memory) / limit
  end

  @doc "Where growth goes, with the windows near the edge and the pace after it; or what holds it."
  @spec grow(map, map) :: {float, non_neg_integer, float} | {:held, atom}
  def grow(state, reading) do
    cond do
      reading.guarded_share > 0.02 -> {:held, :guard}
      state.scale >= state.ceiling -> {:held, if(reading.held_back?, do: :ceiling)}
      state.scale >= 1.0 and not used_up?(state, reading) -> {:held, nil}
      true -> grown(state, reading.seconds)
    end
  end

  defp used_up?(state, reading), do: reading.demand > 0.9 * reading.limit * state.scale

  defp grown(%{near: near} = state, seconds) when near < @near do
    if state.scale >= @near_share * state.edge,
      do: {to(state, @near_pace, seconds), near + 1, state.pace},
      else: fast(state, seconds)
  end

  defp grown(state, seconds), do: fast(state, seconds)

  defp fast(state, seconds),
    do: {to(state, state.pace, seconds), state.near, min(@fastest, state.pace * 1.3)}

  # A window that took longer to fill stands for as many steps.
  defp to(state, pace, seconds),
    do: min(state.ceiling, state.scale * min(@most_grown, :math.pow(1 + pace, max(1.0, seconds))))
end
