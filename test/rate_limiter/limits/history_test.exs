defmodule RateLimiter.Limits.HistoryTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Instance
  alias RateLimiter.Limits.History

  test "keeps the last hundred changes, and none that changed nothing" do
    instance = Instance.new(name: :history)
    assert History.all(instance) == []

    for n <- 1..150,
        do: :ok = History.add(instance, "#{n}", [{:changed, [:a, :w, :limit], n, n + 1}])

    :ok = History.add(instance, "nothing", [])
    assert [%{by: "150"} | _] = changes = History.all(instance)
    assert {length(changes), List.last(changes).by} == {100, "51"}
    :ets.delete(instance.table)
    assert History.all(instance) == []
  end
end
