defmodule RateLimiter.Sensors.SchedulersTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Sensors.Schedulers

  test "the first reading starts the interval, each later one is a share of it" do
    {:no_opinion, _reason, times} = Schedulers.measure(Schedulers.init([]))

    Enum.reduce(1..5, times, fn _, times ->
      Enum.sum(1..100_000)
      assert {:ok, share, times} = Schedulers.measure(times)
      assert share >= 0 and share <= 1
      times
    end)
  end

  test "a share counts what each scheduler has done since, in any order of schedulers" do
    {:no_opinion, _reason, times} = Schedulers.measure(nil)
    {:ok, _share, now} = Schedulers.measure(Enum.reverse(times))

    assert Enum.sort(Enum.map(now, &elem(&1, 0))) ==
             Enum.to_list(1..:erlang.system_info(:schedulers))
  end

  test "an interval in which no time has passed has no opinion" do
    {:no_opinion, _reason, times} = Schedulers.measure(nil)
    future = for {n, active, total} <- times, do: {n, active, total + 1_000_000_000_000_000}
    assert {:no_opinion, "no time has passed", _times} = Schedulers.measure(future)
  end
end
