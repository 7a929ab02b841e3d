defmodule RateLimiter.Instance.Clock do
  @moduledoc false
  # By how much UTC has moved against the clock of limits since the aligned windows last followed it.
  #
  # Limits follow a clock that is never set, and aligned windows know its distance to UTC. The native library measures the
  # distance again when it sweeps a limiter, so all windows have followed after a pass of the sweeper.

  alias RateLimiter.Core.Native
  alias RateLimiter.Instance

  # More than a leap second.
  @tolerance_ms 2_000

  @doc "Returns a cell that holds the present distance, which a new limiter takes."
  @spec new() :: :atomics.atomics_ref()
  def new do
    cell = :atomics.new(1, [])
    :atomics.put(cell, 1, Native.utc_ahead_ms())
    cell
  end

  @doc "Returns by how many milliseconds UTC has moved ahead; 0 within two seconds, and in tests."
  @spec moved_ms(Instance.t()) :: integer
  def moved_ms(%Instance{clock: :monotonic, utc: cell}) when cell != nil do
    moved = Native.utc_ahead_ms() - :atomics.get(cell, 1)
    if abs(moved) > @tolerance_ms, do: moved, else: 0
  end

  def moved_ms(_test), do: 0

  @doc "Notes that aligned windows have followed a move that `moved_ms/1` returned."
  @spec follow(Instance.t(), integer) :: :ok
  def follow(%Instance{utc: cell}, moved_ms) when moved_ms != 0,
    do: :atomics.add(cell, 1, moved_ms)

  def follow(_instance, 0), do: :ok
end
