defmodule RateLimiter.Signals.Bypass do
  @moduledoc false
  # The budget for emergency calls: small limiters that no scale reduces. Each use is an event, so that the budget does
  # not become the normal way.

  alias RateLimiter.Core.{Errors, Limit}
  alias RateLimiter.{Telemetry, Usage}
  alias RateLimiter.VSM.{Gate, Subsystem, Table}

  @share_of_limits 0.01
  @share_of_source 0.2

  @doc "Creates the limiters of emergency calls: one for all sources together, one for each source."
  @spec open(Table.t(), RateLimiter.VSM.Config.t(), term) :: true
  def open(table, config, clock) do
    rate =
      config.subsystems |> Enum.map(fn {_name, subsystem} -> subsystem.rate end) |> Enum.sum()

    total = max(1.0, rate * @share_of_limits)
    limits = [all: limit(total), source: limit(total * @share_of_source)]
    limiters = for {key, limit} <- limits, do: {key, Gate.new_limiter(limit, :none, clock)}

    :ets.insert(table, [
      {:emergency, Map.new(limiters, fn {key, {limiter, _owner}} -> {key, limiter} end)},
      {:emergency_owners, for({_key, {_limiter, owner}} <- limiters, do: owner)}
    ])
  end

  @doc """
  Consumes an emergency call's cost. `:spent` means that the normal limit applies.

  Each call costs at least 1. Otherwise calls that cost nothing would pass the gate and the guard without a limit.
  """
  @spec take(Subsystem.t(), RateLimiter.id(), integer) :: {:ok, Usage.t()} | :spent
  def take(subsystem, id, 0), do: take(subsystem, id, 1)

  def take(%Subsystem{table: table} = subsystem, id, cost) do
    limiters = Table.get(table, :emergency) || raise(Errors.ended())
    answer = check(limiters, id, cost)
    result = if elem(answer, 0) == :ok, do: :granted, else: :spent
    usage = Usage.from_window(answer, subsystem.name, :bypass, cost)

    Table.count(table, {result, subsystem.name})
    Telemetry.bypass(subsystem, usage, result, id)
    if result == :granted, do: {:ok, usage}, else: :spent
  end

  # A source's cost is refunded if the limiter of all sources denies it.
  defp check(%{all: all, source: source}, id, cost) do
    with {:ok, _, _, _, _, _, _, _, _, _} <- Gate.take(source, id, cost) do
      answer = Gate.take(all, :emergency, cost)
      if elem(answer, 0) != :ok, do: Gate.give_back(source, id, cost)
      answer
    end
  end

  # Per thousand seconds, so that a rate of 1.5 is not rounded.
  defp limit(rate) when rate >= 1,
    do: Limit.new!([limit: trunc(rate * 1_000), per: {1_000, :second}, burst: trunc(rate)], [])

  # A rate below one per second is one call per 1 / rate seconds.
  defp limit(rate), do: Limit.new!([limit: 1, per: {ceil(1_000 / rate), :millisecond}], [])
end
