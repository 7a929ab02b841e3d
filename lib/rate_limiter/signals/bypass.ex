defmodule RateLimiter.Signals.Bypass do
  @moduledoc false
  # The way past a limit for an emergency: a small bucket that no scale shrinks, so that it is there when it is needed,
  # and of which each use is an event, so that it does not become the usual way.

  alias RateLimiter.{Telemetry, Usage}
  alias RateLimiter.Core.{Errors, Limit}
  alias RateLimiter.VSM.{Gate, Subsystem, Table}

  @part 0.01
  @source_part 0.2

  @doc "Creates the limiters of emergency calls: one for all sources together, one for each source."
  @spec open(Table.t(), RateLimiter.VSM.Config.t(), term) :: true
  def open(table, config, clock) do
    rate = config.subsystems |> Enum.map(fn {_name, own} -> own.rate end) |> Enum.sum()
    total = max(1.0, rate * @part)
    limits = [all: limit(total), source: limit(total * @source_part)]
    limiters = for {key, limit} <- limits, do: {key, Gate.new_limiter(limit, :none, clock)}

    :ets.insert(table, [
      {:emergency, Map.new(limiters, fn {key, {limiter, _owner}} -> {key, limiter} end)},
      {:emergency_owners, for({_key, {_limiter, owner}} <- limiters, do: owner)}
    ])
  end

  @doc "Takes an emergency call's cost; `:spent` is no answer, but means the normal channel."
  @spec take(Subsystem.t(), RateLimiter.id(), integer) :: {:ok, Usage.t()} | :spent
  def take(%Subsystem{table: table} = subsystem, id, cost) do
    limiters = Table.get(table, :emergency) || raise(Errors.ended())
    answer = judge(limiters, id, cost)
    result = if elem(answer, 0) == :ok, do: :granted, else: :spent
    usage = Usage.from_window(answer, subsystem.name, :bypass, cost)

    Table.count(table, {result, subsystem.name})
    Telemetry.bypass(subsystem, usage, result, id)
    if result == :granted, do: {:ok, usage}, else: :spent
  end

  # What one source took and all together may not have is the source's again.
  defp judge(%{all: all, source: source}, id, cost) do
    with {:ok, _, _, _, _, _, _} <- Gate.take(source, id, cost) do
      answer = Gate.take(all, :emergency, cost)
      if elem(answer, 0) != :ok, do: Gate.give_back(source, id, cost)
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
