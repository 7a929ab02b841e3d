defmodule RateLimiter.Req.PausesTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Req.Pauses

  # Far in the past, so that pauses of other tests do not end here.
  @start -1_000_000_000_000_000

  test "a pause ends when it says so, and a shorter one does not shorten it" do
    key = {__MODULE__, :one}
    assert Pauses.left(key, @start) == 0
    Pauses.put(key, 100, @start)
    assert Pauses.left(key, @start + 99) == 1
    Pauses.put(key, 10, @start + 50)
    assert Pauses.left(key, @start + 99) == 1
    Pauses.put(key, 100, @start + 50)
    assert Pauses.left(key, @start + 149) == 1
    assert Pauses.left(key, @start + 150) == 0
  end

  test "pauses that have ended leave no entry" do
    key = &{__MODULE__, :ended, &1}
    for n <- 1..10, do: Pauses.put(key.(n), 1, @start)
    Pauses.put(key.(:last), 5, @start + 2)
    entries = :ets.match(Pauses, {{__MODULE__, :ended, :"$1"}, :_})
    assert entries == [[:last]]
  end
end
