defmodule Bench.Histogram do
  @moduledoc false
  # The number of samples of each duration, exact below 4,096 ns, and within 1/4,096 above.

  import Bitwise

  @part 4_096
  @octaves 28

  @type t :: :counters.counters_ref()

  @spec new() :: t
  def new, do: :counters.new(@part * (@octaves + 1), [])

  @spec add(t, non_neg_integer) :: :ok
  def add(histogram, ns), do: :counters.add(histogram, index(ns, 0) + 1, 1)

  @doc "Returns, for each share, the least duration that this share of the samples does not exceed, and the longest one."
  @spec percentiles(t, [float]) :: {[non_neg_integer], longest :: non_neg_integer}
  def percentiles(histogram, shares) do
    seen =
      for index <- 1..(@part * (@octaves + 1)),
          count = :counters.get(histogram, index),
          count > 0,
          do: {index - 1, count}

    total = seen |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    {last, _count} = List.last(seen)
    {Enum.map(shares, &at(seen, ceil(&1 * total))), value(last)}
  end

  defp at([{index, count} | _rest], rank) when count >= rank, do: value(index)
  defp at([{_index, count} | rest], rank), do: at(rest, rank - count)

  defp index(ns, octave) when ns >= 2 * @part, do: index(bsr(ns, 1), octave + 1)
  defp index(ns, octave), do: octave * @part + ns

  defp value(index) when index < @part, do: index
  defp value(index), do: bsl(rem(index, @part) + @part, div(index, @part) - 1)
end
