defmodule RateLimiter.Support.Ledger.Curve do
  @moduledoc false
  # The contract of a token bucket, without a look at how one is kept: in any stretch of time `d` at most
  # `burst + d * rate` calls are decided yes.

  @type span :: {from_us :: integer, to_us :: integer}

  @doc """
  By how much the worst stretch was above the curve; 0 where none was.

  A call was decided at some moment between its ends. What lies in a stretch with both ends was decided in it, so that
  none is blamed for a call that was decided before it.
  """
  @spec excess([span], pos_integer, pos_integer) :: non_neg_integer
  def excess(spans, burst, per_second) do
    by_end = Enum.sort_by(spans, &elem(&1, 1))

    spans
    |> Enum.map(&elem(&1, 0))
    |> Enum.uniq()
    |> Enum.map(&above(by_end, &1, 0, burst, per_second, 0))
    |> Enum.max(fn -> 0 end)
  end

  # From one beginning to each end that follows.
  defp above([], _from, _count, _burst, _rate, worst), do: worst

  defp above([{start, _stop} | rest], from, count, burst, rate, worst) when start < from,
    do: above(rest, from, count, burst, rate, worst)

  defp above([{_start, stop} | rest], from, count, burst, rate, worst) do
    count = count + 1
    allowed = burst + div((stop - from) * rate, 1_000_000)
    above(rest, from, count, burst, rate, max(worst, count - allowed))
  end
end
