defmodule RateLimiter.Adaptive.ClosedLoop.Step do
  @moduledoc false
  # How far the scale moves, and the guard that belongs to it.

  alias RateLimiter.Adaptive.ClosedLoop.Estimates

  @max_cut 0.3
  # Near the last cut, the scale grows slowly for some windows: the capacity may end there.
  @near 3
  @near_share 0.8
  @near_pace 0.03
  @pace 0.15
  @max_pace 0.5
  @max_growth 2.0

  # With fewer calls in flight, one slow call would hide how the others are.
  @min_guard 4
  # Above this share of failures most admitted work is lost, so less is admitted.
  @failing 0.3
  # Above this share of calls, the guard denies too many to be taken for chance.
  @guarded 0.02
  @hot 0.25
  @cool 0.10
  @max_room 3.0
  @room_step 0.5
  # Below this scale a deep fall is assumed, and its end is followed without small steps.
  @deep 0.3

  @doc "Returns the scale after a cut, or what holds it."
  @spec cut(map, map, number) :: {float, nil | :floor | :proven}
  def cut(state, reading, limit) do
    wanted = state.scale * (1 - @max_cut * reading.stress)
    proven = proven(state, reading, limit)
    to = state.floor |> max(wanted) |> max(proven) |> min(state.scale)

    cond do
      to < state.scale -> {to, nil}
      proven >= state.scale -> {to, :proven}
      true -> {to, :floor}
    end
  end

  # Never below the proven rate. If most calls failed, somewhat below it, so that a queue of abandoned calls drains.
  # Pain is not about the rate.
  defp proven(_state, %{binding: {:pain, _source}}, _limit), do: 0.0

  defp proven(state, reading, limit) do
    factor = if reading.errors > 0.5, do: 0.7, else: 1.0
    factor * Estimates.proven(state.estimates) / limit
  end

  @doc """
  Returns the steps of growth near the edge and the pace, after a cut.

  If the stress ends without a lower scale, not the load has changed but the capacity: then small steps protect nothing.
  """
  @spec pace(nil | :floor | :proven, float) :: {non_neg_integer, float}
  def pace(:floor, _to), do: {@near, @max_pace}
  def pace(:proven, to) when to < @deep, do: {@near, @pace}
  def pace(_held, _to), do: {0, @pace}

  @doc "Returns the scale after growth with the count of steps near the edge and the next pace, or what holds it."
  @spec grow(map, map) :: {float, non_neg_integer, float} | {:held, atom}
  def grow(state, reading) do
    cond do
      reading.guarded_share > @guarded -> {:held, :guard}
      state.scale >= state.ceiling -> {:held, if(reading.held_back?, do: :ceiling)}
      state.scale >= 1.0 and not used_up?(state, reading) -> {:held, nil}
      near?(state) -> {grown(state, @near_pace, reading), state.near + steps(reading), state.pace}
      true -> {grown(state, state.pace, reading), state.near, min(@max_pace, state.pace * 1.5)}
    end
  end

  defp used_up?(state, reading), do: reading.demand > 0.9 * reading.limit * state.scale
  defp near?(state), do: state.near < @near and state.scale >= @near_share * state.edge

  # A window that took longer to fill stands for as many steps.
  defp steps(%{seconds: seconds}), do: max(1, round(seconds))

  defp grown(state, pace, %{seconds: seconds}) do
    factor = min(@max_growth, :math.pow(1 + pace, max(1.0, seconds)))
    min(state.ceiling, state.scale * factor)
  end

  @doc "Returns the guard for the scale in force: by Little's law, the admitted rate times how long a call may stay."
  @spec guard(map, map, number) :: pos_integer | :infinity
  def guard(%{estimates: %{base: nil}}, _reading, _limit), do: :infinity

  def guard(%{estimates: estimates} = state, reading, limit) do
    tolerable = Estimates.tolerable_ms(estimates, state.target)
    stay = Enum.max([estimates.base.mean, estimates.mean || 0.0, tolerable])
    rate = rate(state, reading, limit * state.scale)
    usual = rate * stay / 1_000
    max(@min_guard, ceil((usual + state.room * :math.sqrt(usual)) * choke(reading)))
  end

  @doc """
  Returns how many standard deviations the guard allows beyond the usual calls in flight.

  Calls arrive at random. A guard that denies calls although all are answered as fast as usual is too small for that.
  """
  @spec room(map, map) :: float
  def room(%{room: room}, %{opinion?: false}), do: room

  def room(%{room: room}, %{stress: stress} = reading) do
    cond do
      stress >= @hot -> 0.0
      stress <= @cool and reading.guarded_share > @guarded -> min(@max_room, room + @room_step)
      true -> room
    end
  end

  # Once calls begin to fail, the completed rate is nearer to the capacity than the admitted one.
  defp rate(state, reading, admitted) do
    if reading.held_back? and reading.errors >= 0.02,
      do: (1.2 * Estimates.proven(state.estimates)) |> max(0.5 * admitted) |> min(admitted),
      else: admitted
  end

  defp choke(%{errors: errors}) when errors <= @failing, do: 1.0
  defp choke(%{errors: errors}), do: (1 - errors) / (1 - @failing)
end
