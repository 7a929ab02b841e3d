defmodule RateLimiter.Adaptive.Histogram do
  @moduledoc """
  Durations counted in fixed buckets, 32 to every doubling: a quantile is off by at most 1.6 %.

  The buckets are the same everywhere, so that the histograms of two windows or two nodes add (percentiles do not).
  Where durations are counted by many processes at once, keep the counts in a `:counters` array with `buckets/0`
  places, find the place with `bucket/1`, and make a histogram of it with `from_counts/2`.
  """

  import Bitwise

  # 32 steps to a doubling: below 64 µs a bucket is 1 µs wide.
  @bits 5
  @steps 1 <<< @bits
  # 2^36 µs are 19 hours. What takes longer is counted there.
  @doublings 36
  @buckets @steps * (@doublings - @bits + 1)
  @longest (1 <<< @doublings) - 1

  defstruct counts: %{}, count: 0, sum_us: 0

  @type t :: %__MODULE__{
          counts: %{optional(non_neg_integer) => pos_integer},
          count: non_neg_integer,
          sum_us: non_neg_integer
        }

  @doc "How many buckets there are: `bucket/1` is below it."
  @spec buckets() :: pos_integer
  def buckets, do: @buckets

  @doc """
  The bucket of a duration in microseconds.

      iex> Enum.map([0, 31, 64, 65, 66], &RateLimiter.Adaptive.Histogram.bucket/1)
      [0, 31, 64, 64, 65]
  """
  @spec bucket(non_neg_integer) :: non_neg_integer
  def bucket(us) when us < @steps * 2, do: max(us, 0)

  def bucket(us) do
    us = min(us, @longest)
    shift = doubling(us, 1) - @bits
    shift * @steps + (us >>> shift)
  end

  @doc "The histogram with one more duration in it."
  @spec record(t, non_neg_integer) :: t
  def record(%__MODULE__{} = histogram, us) when is_integer(us) and us >= 0 do
    %{
      histogram
      | counts: Map.update(histogram.counts, bucket(us), 1, &(&1 + 1)),
        count: histogram.count + 1,
        sum_us: histogram.sum_us + min(us, @longest)
    }
  end

  @doc "The histogram of `{bucket, count}` pairs and the sum of their durations."
  @spec from_counts(Enumerable.t(), non_neg_integer) :: t
  def from_counts(pairs, sum_us) do
    counts = for {bucket, count} <- pairs, count > 0, into: %{}, do: {bucket, count}
    %__MODULE__{counts: counts, count: counts |> Map.values() |> Enum.sum(), sum_us: sum_us}
  end

  @doc "Both together."
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
  The duration, in milliseconds, that a share of all durations stayed below; `nil` where there are none.

      iex> alias RateLimiter.Adaptive.Histogram
      iex> histogram = Enum.reduce([10_000, 20_000, 30_000, 40_000], %Histogram{}, &Histogram.record(&2, &1))
      iex> round(Histogram.quantile(histogram, 0.5))
      20
  """
  @spec quantile(t, float) :: float | nil
  def quantile(histogram, share), do: histogram |> quantiles([share]) |> hd()

  @doc "Several at once, in the order asked; they must rise."
  @spec quantiles(t, [float]) :: [float | nil]
  def quantiles(%__MODULE__{count: 0}, shares), do: Enum.map(shares, fn _ -> nil end)

  def quantiles(%__MODULE__{count: count, counts: counts}, shares) do
    ranks = Enum.map(shares, &max(&1 * count, 1.0e-9))
    walk(Enum.sort(counts), 0, ranks)
  end

  @doc "The mean duration in milliseconds; `nil` where there are none."
  @spec mean(t) :: float | nil
  def mean(%__MODULE__{count: 0}), do: nil
  def mean(%__MODULE__{count: count, sum_us: sum}), do: sum / count / 1_000

  @doc false
  def check!(%__MODULE__{count: count, sum_us: sum, counts: counts}, _name)
      when is_integer(count) and count >= 0 and is_integer(sum) and sum >= 0 and is_map(counts),
      do: :ok

  def check!(other, name) do
    raise ArgumentError,
          "observation: #{name}.latency: expected a #{inspect(__MODULE__)}, got: #{inspect(other)}"
  end

  # Within a bucket durations are taken to lie evenly.
  defp walk(_counts, _below, []), do: []

  defp walk([{bucket, count} | rest] = counts, below, [rank | ranks]) do
    # The last bucket takes what rounding left over.
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
