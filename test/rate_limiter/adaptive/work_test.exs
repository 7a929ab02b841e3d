defmodule RateLimiter.Adaptive.WorkTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.{Histogram, Observation, Work}

  doctest Work
  doctest Observation

  test "a failure is not a sample of latency" do
    work = Enum.reduce([:error, :timeout, :rejected], %Work{}, &Work.record(&2, &1, 10))
    assert Histogram.mean(work.latency) == nil
    assert Work.failed(work) == 3
    assert Work.failure_ratio(work) == 1.0
  end

  test "the waiting time of timeouts is summed up" do
    work = %Work{} |> Work.record(:timeout, 900_000) |> Work.record(:timeout, 1_100_000)
    assert work.waited_us == 2_000_000
  end

  test "Observation.check!/1 names the invalid field" do
    for {observation, message} <- [
          {%Observation{asked: -1},
           "observation: asked: expected an integer from 0 to 1.0e15, got: -1"},
          {%Observation{pain: %{db: 2}},
           "observation: pain of :db: expected a number from 0 to 1, got: 2"},
          {%Observation{fresh: %Work{errors: 1.5}},
           "observation: fresh.errors: expected an integer from 0 to 1.0e15, got: 1.5"}
        ] do
      assert_raise ArgumentError, message, fn -> Observation.check!(observation) end
    end
  end
end
