defmodule RateLimiter.Adaptive.ClosedLoop.Memory do
  @moduledoc false
  # What the closed loop remembers of the work: what is usual, and what was lately seen.
  #
  #   base          latency when nothing is wrong
  #   usual_errors  the share of failures that no shedding cured
  #   patience      how long callers waited before they gave up, in milliseconds
  #   mean          the latency lately seen without a queue, in milliseconds
  #   errors        the share of failures, smoothed
  #   rates         calls answered well, per second, of the last four windows

  alias RateLimiter.Adaptive.Baseline

  defstruct base: nil, usual_errors: 0.0, patience: nil, mean: nil, errors: 0.0, rates: []

  @type t :: %__MODULE__{}

  @calm 0.10
  @rates 4
  @bound 0.02

  @doc "The memory with one more window in it."
  @spec remember(t, map) :: t
  def remember(%__MODULE__{} = memory, reading) do
    %__MODULE__{
      base: base(memory.base, reading),
      usual_errors: lower(memory.usual_errors, reading),
      patience: patience(memory.patience, reading.waited_ms),
      mean: mean(memory.mean, reading),
      errors: memory.errors + 0.4 * (reading.errors - memory.errors),
      rates: Enum.take([reading.good_rate | memory.rates], @rates)
    }
  end

  @doc "The memory of so many times as much work."
  @spec resize(t, float) :: t
  def resize(%__MODULE__{} = memory, factor),
    do: %{memory | rates: Enum.map(memory.rates, &(&1 * factor))}

  @doc "The highest rate that was lately answered well, calls per second."
  @spec proven(t) :: float
  def proven(%__MODULE__{rates: rates}), do: Enum.max(rates, fn -> 0.0 end)

  # Learned only while all is calm, or overload becomes what is usual. The first window is better than nothing.
  defp base(nil, reading), do: reading.latency
  defp base(base, %{stress: stress}) when stress >= @calm, do: base
  # While calls are turned away a standing queue may hide in what is seen: then only downwards.
  defp base(base, %{held_back?: true} = reading), do: Baseline.lower(base, reading.latency)
  defp base(base, reading), do: Baseline.learn(base, reading.latency)

  # Up only by an audit.
  defp lower(usual, %{opinion?: true, errors: errors}) when errors < usual,
    do: usual + 0.3 * (errors - usual)

  defp lower(usual, _reading), do: usual

  defp patience(patience, nil), do: patience
  defp patience(nil, waited), do: waited
  defp patience(patience, waited), do: patience + 0.3 * (waited - patience)

  defp mean(mean, %{latency: latency, queue: queue}) when latency == nil or queue > @calm,
    do: mean

  # The guard lets calls wait as long as this is: where it binds, what is seen is its own doing.
  defp mean(mean, %{guarded_share: share, latency: latency}) when share > @bound,
    do: mean && min(mean, latency.mean)

  defp mean(nil, reading), do: reading.latency.mean
  defp mean(mean, reading), do: mean + 0.3 * (reading.latency.mean - mean)
end
