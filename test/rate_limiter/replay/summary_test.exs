defmodule RateLimiter.Replay.SummaryTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Core.LimitText
  alias RateLimiter.Replay.{Summary, Verdict}

  defp limit(text), do: text |> LimitText.parse() |> elem(1)

  # A verdict of so many denied requests by hour.
  defp sentences(denied, smallest \\ []) do
    hours = for hour <- 0..23, do: {1_000, Map.get(denied, hour, 0)}
    denied = denied |> Map.values() |> Enum.sum()

    Summary.sentences(%Verdict{
      limit: limit("60/min"),
      requests: 24_000 + denied,
      admitted: 24_000,
      denied: denied,
      ids: 904,
      ids_denied: min(denied, 2),
      top: [],
      hours: hours,
      column_seconds: 60,
      columns: [],
      paths: [],
      statuses: [],
      smallest: smallest,
      curve: []
    })
  end

  test "what was denied, to whom, and in which part of the day" do
    assert sentences(%{3 => 141}) ==
             "60/min would have denied 141 of 24,141 requests, from 2 of 904 clients, all between 03:00 and 04:00."

    assert sentences(%{0 => 1, 11 => 5}) =~ "clients, all between 00:00 and 12:00."
    assert sentences(%{23 => 1}) =~ "all between 23:00 and 24:00."
    assert sentences(%{0 => 3, 23 => 5}) =~ "clients, most of them between 23:00 and 24:00."
    assert sentences(%{0 => 3, 12 => 3, 23 => 3}) =~ "from 2 of 904 clients."
    assert sentences(%{}) == "60/min would have denied nothing."
  end

  test "the limits to consider instead, where there are any" do
    smallest = [{0, limit("226/min")}, {10_000, limit("22/min:burst=88")}]

    assert sentences(%{}, smallest) =~
             " The smallest limit that denies no client is 226/min, and 22/min:burst=88 denies at most 1 % of clients."

    assert sentences(%{}, [{0, nil}, {10_000, limit("12/min")}]) =~
             " The smallest limit that denies at most 1 % of clients is 12/min."

    assert sentences(%{}, [{0, nil}]) == sentences(%{})
  end
end
