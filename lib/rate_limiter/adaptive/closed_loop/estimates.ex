defmodule RateLimiter.Adaptive.ClosedLoop.Estimates do
  @moduledoc false
  # The estimates that the closed loop has of the work:
  #
  #   base          latency without stress: 25 % and 50 % quantile and mean, in milliseconds
  #   usual_errors  the share of failures that shedding did not cure
  #   patience      how long callers wait before they give up, in milliseconds
  #   mean          recent mean latency without a queue, in milliseconds
  #   errors        the smoothed share of failures
  #   rates         calls answered well per second, in the last four windows

  defstruct base: nil, usual_errors: 0.0, patience: nil, mean: nil, errors: 0.0, rates: []

  @type latency :: %{p25: float, p50: float, mean: float}
  @type t :: %__MODULE__{base: latency | nil}

  @calm 0.10
  @rates 4
  @guarded 0.02

  # Weights of a new base latency: fast down and slow up, so that a slow rise is detected instead of learned.
  @down 0.3
  @up 0.02

  @doc "Returns the estimates after one more window."
  @spec update(t, map) :: t
  def update(%__MODULE__{} = estimates, reading) do
    %__MODULE__{
      base: base(estimates.base, reading),
      usual_errors: usual_errors(estimates.usual_errors, reading),
      patience: patience(estimates.patience, reading.waited_ms),
      mean: mean(estimates.mean, reading),
      errors: estimates.errors + 0.4 * (reading.errors - estimates.errors),
      rates: Enum.take([reading.good_rate | estimates.rates], @rates)
    }
  end

  @doc "Adjusts the estimates to `factor` times as much work."
  @spec resize(t, float) :: t
  def resize(%__MODULE__{} = estimates, factor),
    do: %{estimates | rates: Enum.map(estimates.rates, &(&1 * factor))}

  @doc "Returns the highest rate that was recently answered well, in calls per second."
  @spec proven(t) :: float
  def proven(%__MODULE__{rates: rates}), do: Enum.max(rates, fn -> 0.0 end)

  @doc """
  Returns how long a call may stay, in milliseconds.

  That is two thirds of the target, or a third of what callers waited before they gave up, so that half the capacity
  still answers them in time, or three times the usual duration.
  """
  @spec tolerable_ms(t, number | nil) :: float | nil
  def tolerable_ms(_estimates, target) when target != nil, do: target * 2 / 3
  def tolerable_ms(%{patience: patience}, _target) when patience != nil, do: patience / 3
  def tolerable_ms(%{base: nil}, _target), do: nil
  def tolerable_ms(%{base: base}, _target), do: 3 * base.mean

  # Learned only without stress, or overload would become usual. The first window is better than no base.
  defp base(nil, reading), do: reading.latency
  defp base(base, %{latency: nil}), do: base
  defp base(base, %{stress: stress}) when stress >= @calm, do: base

  # While calls are denied, the latency may contain a standing queue: then the base may only fall.
  defp base(base, %{held_back?: held_back?, latency: latency}) do
    Map.new(base, fn {key, old} ->
      new = if held_back?, do: min(old, latency[key]), else: latency[key]
      weight = if new < old, do: @down, else: @up
      {key, old + weight * (new - old)}
    end)
  end

  # Raised by an audit only.
  defp usual_errors(usual, %{opinion?: true, errors: errors}) when errors < usual,
    do: usual + 0.3 * (errors - usual)

  defp usual_errors(usual, _reading), do: usual

  defp patience(patience, nil), do: patience
  defp patience(nil, waited), do: waited
  defp patience(patience, waited), do: patience + 0.3 * (waited - patience)

  defp mean(mean, %{latency: latency, queue: queue}) when latency == nil or queue > @calm,
    do: mean

  # The guard allows calls to wait this long. While it denies calls, it causes the latency itself.
  defp mean(mean, %{guarded_share: share, latency: latency}) when share > @guarded,
    do: mean && min(mean, latency.mean)

  defp mean(nil, reading), do: reading.latency.mean
  defp mean(mean, reading), do: mean + 0.3 * (reading.latency.mean - mean)
end
