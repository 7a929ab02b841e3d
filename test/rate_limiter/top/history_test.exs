defmodule RateLimiter.Top.HistoryTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Top.History

  defp shop(rates), do: [%{name: "shop", rates: rates}]

  test "the last 60 rates are kept, the newest first" do
    history =
      Enum.reduce(1..100, %{}, fn rate, history ->
        History.add(history, shop(%{calls: rate, denied: 1}))
      end)

    assert history["shop"] == for(rate <- 100..41//-1, do: {rate, 1})
  end

  test "an instance that has just started has no rates, and one that has stopped is forgotten" do
    assert History.add(%{}, shop(nil)) == %{"shop" => []}
    assert History.add(%{"shop" => [{1, 0}]}, []) == %{}
  end
end
