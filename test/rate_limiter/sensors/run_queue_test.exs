defmodule RateLimiter.Sensors.RunQueueTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Sensors.RunQueue

  test "the value is the number of waiting processes per scheduler, and the state is kept" do
    schedulers = System.schedulers_online()

    for _ <- 1..50 do
      assert {:ok, waiting, :state} = RunQueue.measure(:state)
      assert waiting >= 0
      # A whole number of processes, divided by the schedulers.
      assert_in_delta waiting * schedulers, round(waiting * schedulers), 1.0e-9
    end
  end

  test "a sensor needs no options" do
    assert {:ok, _waiting, nil} = [] |> RunQueue.init() |> RunQueue.measure()
  end
end
