defmodule RateLimiter.Adaptive.Baseline do
  @moduledoc false
  # How long work takes when nothing is wrong, in milliseconds. Low quantiles tell a queue from a heavy tail: a queue
  # delays every call, a tail only some.

  alias RateLimiter.Adaptive.{Histogram, Work}

  @enforce_keys [:p25, :p50, :mean]
  defstruct [:p25, :p50, :mean]

  @type t :: %__MODULE__{p25: float, p50: float, mean: float}

  @down 0.3
  @up 0.02

  @doc "The latency of this work; `nil` where nothing succeeded."
  @spec of(Work.t()) :: t | nil
  def of(%Work{ok: 0}), do: nil

  def of(%Work{latency: latency}) do
    case Histogram.quantiles(latency, [0.25, 0.5]) do
      [nil, nil] -> nil
      [p25, p50] -> %__MODULE__{p25: p25, p50: p50, mean: Histogram.mean(latency)}
    end
  end

  @doc "Moves towards what was seen: fast down, slow up, so that a slow rise is seen as one and not learned."
  @spec learn(t | nil, t | nil) :: t | nil
  def learn(base, nil), do: base
  def learn(nil, seen), do: seen

  def learn(base, seen) do
    %__MODULE__{
      p25: toward(base.p25, seen.p25),
      p50: toward(base.p50, seen.p50),
      mean: toward(base.mean, seen.mean)
    }
  end

  @doc "Moves towards what was seen where that is lower."
  @spec lower(t, t | nil) :: t
  def lower(base, nil), do: base

  def lower(base, seen) do
    %__MODULE__{
      p25: toward(base.p25, min(base.p25, seen.p25)),
      p50: toward(base.p50, min(base.p50, seen.p50)),
      mean: toward(base.mean, min(base.mean, seen.mean))
    }
  end

  defp toward(from, to) when to < from, do: from + @down * (to - from)
  defp toward(from, to), do: from + @up * (to - from)
end
