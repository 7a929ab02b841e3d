defmodule RateLimiter.Adaptive.Guard do
  @moduledoc false
  # How many calls may be in flight: by Little's law, the rate that may come in times how long each may stay. A limit
  # of the rate cannot protect a queue: above capacity the backlog grows, however little above.

  alias RateLimiter.Adaptive.ClosedLoop.Memory

  # Fewer would stop one call from hiding another's luck.
  @least 4
  # Above this share of failures, most of what is let in is lost: less is let in.
  @failing 0.3

  @doc "The guard for the scale that is now in force."
  @spec in_flight(map, map, number) :: pos_integer | :infinity
  def in_flight(%{memory: %Memory{base: nil}}, _reading, _limit), do: :infinity

  def in_flight(state, reading, limit) do
    stay = Enum.max([state.memory.base.mean, state.memory.mean || 0.0, tolerable(state)])
    max(@least, ceil(rate(state, reading, limit * state.scale) * stay * choke(reading) / 1_000))
  end

  @doc """
  How long a call may stay, in milliseconds: two thirds of the target; a third of what callers waited before they
  gave up, so that even half the capacity answers them in time; or three times the usual.
  """
  @spec tolerable(map) :: float | nil
  def tolerable(%{target: target}) when target != nil, do: target * 2 / 3
  def tolerable(%{memory: %Memory{patience: patience}}) when patience != nil, do: patience / 3
  def tolerable(%{memory: %Memory{base: nil}}), do: nil
  def tolerable(%{memory: %Memory{base: base}}), do: 3 * base.mean

  # What goes through now is nearer to capacity than what may come in, once calls begin to fail.
  defp rate(state, reading, most) do
    if reading.held_back? and reading.errors >= 0.02,
      do: (1.2 * Memory.proven(state.memory)) |> max(0.5 * most) |> min(most),
      else: most
  end

  defp choke(%{errors: errors}) when errors <= @failing, do: 1.0
  defp choke(%{errors: errors}), do: (1 - errors) / (1 - @failing)
end
