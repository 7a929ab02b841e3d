defmodule RateLimiter.Adaptive.Histogram do
  @moduledoc """
  A histogram of durations, as a law reads it from `RateLimiter.Adaptive.Work`.

  Each doubling has 32 fixed buckets, so the error of a quantile is at most 1.6 %. All histograms have the same buckets,
  so histograms of two windows or two nodes can be added, which percentiles cannot.
  """

  import Bitwise

  # 32 buckets in each doubling. Below 64 µs, a bucket is 1 µs wide.
  @bits 5
  @steps 1 <<< @bits
  # 2^36 µs are 19 hours. Longer durations are counted in the last bucket.
  @doublings 36
  @buckets @steps * (@doublings - @bits + 1)
  @longest (1 <<< @doublings) - 1

  defstruct counts: %{}, count: 0, sum_us: 0

  @type t :: %__MODULE__{
          counts: %{optional(non_neg_integer) => pos_integer},
          count: non_neg_integer,
          sum_us: non_neg_integer
        }

  @doc false
  @spec buckets() :: pos_integer
  def buckets, do: @buckets

  @doc false
  @spec bucket(non_neg_integer) :: non_neg_integer
  def bucket(us) when us < @steps * 2, do: max(us, 0)

  def bucket(us) do
    us = min(us, @longest)
    shift = doubling(us, 1) - @bits
    shift * @steps + (us >>> shift)
  end

  @doc "Adds a duration in microseconds."
  @spec record(t, non_neg_integer) :: t
  def record(%__MODULE__{} = histogram, us) when is_integer(us) and us >= 0 do
    %{
      histogram
      | counts: Map.update(histogram.counts, bucket(us), 1, &(&1 + 1)),
        count: histogram.count + 1,
        sum_us: histogram.sum_us + min(us, @longest)
    }
  end

  @doc false
  # From `{bucket, count}` pairs and the sum of all durations.
  @spec from_counts(Enumerable.t(), non_neg_integer) :: t
  def from_counts(pairs, sum_us) do
    counts = for {bucket, count} <- pairs, count > 0, into: %{}, do: {bucket, count}
    %__MODULE__{counts: counts, count: counts |> Map.values() |> Enum.sum(), sum_us: sum_us}
  end

  @doc "Adds two histograms."
  @spec add(t, t) :: t
  def add(%__MODULE__{count: 0}, b), do: b
  def add(a, %__MODULE__{count: 0}), do: a

  def add(a, b) do
    %__MODULE__{
      counts: Map.merge(a.counts, b.counts, fn _bucket, x, y -> x + y end),
      count: a.count + b.count,
      sum_us: a.sum_us + b.sum_us
    }
  end

  @doc """
  Returns the duration in milliseconds below which a share of all durations lies; `nil` for an empty histogram.

      iex> alias RateLimiter.Adaptive.Histogram
      iex> histogram = Enum.reduce([10_000, 20_000, 30_000, 40_000], %Histogram{}, &Histogram.record(&2, &1))
      iex> round(Histogram.quantile(histogram, 0.5))
      20
  """
  @spec quantile(t, float) :: float | nil
  def quantile(histogram, share), do: histogram |> quantiles([share]) |> hd()

  @doc "Returns several quantiles for shares in ascending order."
  @spec quantiles(t, [float]) :: [float | nil]
  def quantiles(%__MODULE__{count: 0}, shares), do: Enum.map(shares, fn _ -> nil end)

  def quantiles(%__MODULE__{count: count, counts: counts}, shares) do
    ranks = Enum.map(shares, &max(&1 * count, 1.0e-9))
    walk(Enum.sort(counts), 0, ranks)
  end

  @doc "Returns the mean duration in milliseconds; `nil` for an empty histogram."
  @spec mean(t) :: float | nil
  def mean(%__MODULE__{count: 0}), do: nil
  def mean(%__MODULE__{count: count, sum_us: sum}), do: sum / count / 1_000

  @doc false
  @spec valid?(term) :: boolean
  def valid?(%__MODULE__{count: count, sum_us: sum_us, counts: counts}),
    do: is_integer(count) and count >= 0 and is_integer(sum_us) and sum_us >= 0 and is_map(counts)

  def valid?(_other), do: false

  # Durations are assumed to be uniform within a bucket.
  defp walk(_counts, _below, []), do: []

  defp walk([{bucket, count} | rest] = counts, below, [rank | ranks]) do
    # Rounding may leave a rank above the last bucket.
    if rank <= below + count or rest == [],
      do: [within(bucket, min((rank - below) / count, 1.0)) | walk(counts, below, ranks)],
      else: walk(rest, below + count, [rank | ranks])
  end

  defp within(bucket, part) do
    {low, high} = bounds(bucket)
    (low + (high - low) * part) / 1_000
  end

  defp bounds(bucket) when bucket < @steps * 2, do: {bucket, bucket + 1}

  defp bounds(bucket) do
    shift = div(bucket, @steps) - 1
    low = (bucket - shift * @steps) <<< shift
    {low, low + (1 <<< shift)}
  end

  defp doubling(1, place), do: place - 1
  defp doubling(us, place), do: doubling(us >>> 1, place + 1)
end
