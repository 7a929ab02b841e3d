defmodule RateLimiter.Adaptive.ClosedLoop.WindowTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.{Observation, Work}
  alias RateLimiter.Adaptive.ClosedLoop.Window

  defp window(observations), do: Enum.reduce(observations, %Window{}, &Window.add(&2, &1))

  defp observation(ok, errors, elapsed_ms) do
    %Observation{fresh: %Work{ok: ok, errors: errors}, elapsed_ms: elapsed_ms}
  end

  test "a window is the sum of its observations, in any order" do
    :rand.seed(:exsss, 1)

    for _ <- 1..50 do
      observations =
        for _ <- 1..5 do
          %Observation{
            fresh: %Work{ok: :rand.uniform(9)},
            earlier: %Work{ok: :rand.uniform(9), errors: :rand.uniform(9)},
            elapsed_ms: :rand.uniform(1_000),
            asked: :rand.uniform(50),
            denied: :rand.uniform(9),
            guarded: :rand.uniform(9)
          }
        end

      sum = window(observations)
      assert sum == observations |> Enum.shuffle() |> window()

      for key <- [:elapsed_ms, :asked, :denied, :guarded] do
        assert Map.fetch!(sum, key) ==
                 observations |> Enum.map(&Map.fetch!(&1, key)) |> Enum.sum()
      end

      assert Window.work(sum).ok ==
               observations |> Enum.map(&(&1.fresh.ok + &1.earlier.ok)) |> Enum.sum()
    end
  end

  test "15 finished calls suffice once 800 ms have passed" do
    refute Window.full?(window([observation(14, 0, 800)]))
    refute Window.full?(window([observation(15, 0, 799)]))
    assert Window.full?(window([observation(15, 0, 800)]))
    assert Window.full?(window([observation(7, 0, 400), observation(8, 0, 400)]))
  end

  test "six failures without a success suffice" do
    refute Window.full?(window([observation(0, 5, 800)]))
    assert Window.full?(window([observation(0, 6, 800)]))
    refute Window.full?(window([observation(1, 6, 800)]))
  end

  test "one finished call suffices after five seconds, none never does" do
    refute Window.full?(window([observation(1, 0, 4_999)]))
    assert Window.full?(window([observation(1, 0, 5_000)]))
    refute Window.full?(window([observation(0, 0, 1_000_000)]))
  end

  test "rates are per second, and 0 before any time has passed" do
    window = %Window{
      fresh: %Work{ok: 3},
      earlier: %Work{ok: 1, errors: 9},
      elapsed_ms: 500,
      asked: 20,
      denied: 4,
      guarded: 6
    }

    assert Window.good_rate(window) == 8.0
    assert Window.admitted_rate(window) == 20.0
    assert Window.demand(window) == 40.0

    for rate <- [&Window.good_rate/1, &Window.admitted_rate/1, &Window.demand/1],
        do: assert(rate.(%{window | elapsed_ms: 0}) == 0.0)

    assert Window.admitted_rate(%{window | denied: 30}) == 0.0
  end
end
