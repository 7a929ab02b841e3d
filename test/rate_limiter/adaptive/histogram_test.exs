defmodule RateLimiter.Adaptive.HistogramTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Histogram

  doctest Histogram

  test "buckets are consecutive up to the last one" do
    edges = Enum.map(0..4_000, &Histogram.bucket/1)
    assert Enum.dedup(edges) == Enum.to_list(0..List.last(edges))
    assert Histogram.bucket(1_000_000_000_000_000) == Histogram.buckets() - 1
  end

  test "the error of a quantile is at most one bucket" do
    :rand.seed(:exsss, 7)
    values = for _ <- 1..2_000, do: round(:math.exp(:rand.uniform() * 16))
    histogram = Enum.reduce(values, %Histogram{}, &Histogram.record(&2, &1))
    sorted = values |> Enum.sort() |> List.to_tuple()

    for share <- [0.01, 0.25, 0.5, 0.9, 0.99] do
      exact = elem(sorted, ceil(share * 2_000) - 1)
      assert_in_delta Histogram.quantile(histogram, share) * 1_000, exact, exact * 0.035 + 1.0
    end

    assert_in_delta Histogram.mean(histogram), Enum.sum(values) / 2_000_000, 1.0e-6
  end

  test "a histogram from counts equals one from recorded durations" do
    values = [3, 70, 70, 5_000, 123_456]
    recorded = Enum.reduce(values, %Histogram{}, &Histogram.record(&2, &1))
    pairs = values |> Enum.map(&Histogram.bucket/1) |> Enum.frequencies()
    assert Histogram.from_counts([{9, 0} | Enum.to_list(pairs)], Enum.sum(values)) == recorded
  end

  test "an empty histogram has no quantile and no mean" do
    assert Histogram.quantile(%Histogram{}, 0.5) == nil
    assert Histogram.mean(%Histogram{}) == nil
  end

  test "durations above the last bucket count as the last bucket" do
    histogram = Histogram.record(%Histogram{}, 1_000_000_000_000_000)
    assert Histogram.quantile(histogram, 0.5) <= :math.pow(2, 36) / 1_000
  end
end
