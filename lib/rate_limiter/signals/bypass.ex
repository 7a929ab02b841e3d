defmodule RateLimiter.Signals.Bypass do
  @moduledoc false
  # The way past a limit for an emergency: a small bucket that no scale shrinks, so that it is there when it is needed,
  # and of which each use is an event, so that it does not become the usual way.

  alias RateLimiter.{Telemetry, Usage}
  alias RateLimiter.Core.Limit
  alias RateLimiter.VSM.{Engine, Space, Subsystem}

  @part 0.01
  @source_part 0.2

  @doc "The limits of all emergencies, and of those of one source, where all subsystems sustain `rate` a second."
  @spec limits(float) :: [{:all | :source, Limit.t()}]
  def limits(rate) do
    total = max(1.0, rate * @part)
    [all: limit(total), source: limit(total * @source_part)]
  end

  @doc "Takes an emergency call's cost; `:spent` is no answer, but means the normal channel."
  @spec take(Subsystem.t(), RateLimiter.id(), integer) :: {:ok, Usage.t()} | :spent
  def take(%Subsystem{table: table} = subsystem, id, cost) do
    limiters = Space.emergency(table)
    answer = judge(limiters, id, cost)
    result = if elem(answer, 0) == :ok, do: :granted, else: :spent
    usage = Usage.from_window(answer, subsystem.name, :bypass, cost)

    Space.count(table, {result, subsystem.name})
    Telemetry.bypass(subsystem, usage, result, id)
    if result == :granted, do: {:ok, usage}, else: :spent
  end

  # What one source took and all together may not have is the source's again.
  defp judge(%{all: all, source: source}, id, cost) do
    with {:ok, _, _, _, _, _, _} <- Engine.take(source, id, cost) do
      answer = Engine.take(all, :emergency, cost)
      if elem(answer, 0) != :ok, do: Engine.give_back(source, id, cost)
      answer
    end
  end

  # As many in a thousand seconds: one and a half a second is neither one nor two.
  defp limit(rate) when rate >= 1 do
    Limit.new!(
      [limit: trunc(rate * 1_000), per: {1_000, :second}, burst: trunc(rate)],
      []
    )
  end

  # A fraction of one a second is one in so many milliseconds.
  defp limit(rate),
    do: Limit.new!([limit: 1, per: {ceil(1_000 / rate), :millisecond}], [])
end
