defmodule RateLimiter.Support.Ledger.Curve do
  @moduledoc false
  # The contracts, without a look at how they are kept: how many calls may be decided yes in a stretch of time.

  @type span :: {from_us :: integer, to_us :: integer}
  @type t :: (from_us :: integer, to_us :: integer -> non_neg_integer)

  @second_us 1_000_000

  @doc "A token bucket: in any stretch `d` at most `burst + d * rate`."
  @spec bucket(pos_integer, pos_integer) :: t
  def bucket(burst, per_second),
    do: fn from, to -> burst + div((to - from) * per_second, @second_us) end

  @doc "A strict sliding window of a second: no second, whenever it begins, holds more than the limit."
  @spec sliding(pos_integer) :: t
  def sliding(limit), do: fn from, to -> limit * (div(to - from, @second_us) + 1) end

  @doc "A fixed window of a second: no second of the calendar holds more than the limit."
  @spec fixed(pos_integer) :: t
  def fixed(limit),
    do: fn from, to -> limit * (div(to, @second_us) - div(from, @second_us) + 1) end

  @doc """
  By how much the worst stretch was above what is allowed; 0 where none was.

  A call was decided at some moment between its ends. A call with both ends in a stretch was decided in it, so that
  none is blamed for a call that was decided before it.
  """
  @spec excess([span], t) :: non_neg_integer
  def excess(spans, allowed) do
    by_end = Enum.sort_by(spans, &elem(&1, 1))

    spans
    |> Enum.map(&elem(&1, 0))
    |> Enum.uniq()
    |> Enum.map(&above(by_end, &1, 0, allowed, 0))
    |> Enum.max(fn -> 0 end)
  end

  # From one beginning to each end that follows.
  defp above([], _from, _count, _allowed, worst), do: worst

  defp above([{start, _stop} | rest], from, count, allowed, worst) when start < from,
    do: above(rest, from, count, allowed, worst)

  defp above([{_start, stop} | rest], from, count, allowed, worst) do
    count = count + 1
    above(rest, from, count, allowed, max(worst, count - allowed.(from, stop)))
  end
end
