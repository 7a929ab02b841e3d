defmodule RateLimiter.Adaptive.ObservationTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories

  alias RateLimiter.Adaptive.{Observation, Work}

  doctest Observation

  test "every observation of a history is valid, and returned as it is" do
    for_all seed, 20 do
      for observation <- history(seed, 20),
          do: assert(Observation.check!(observation) == observation)
    end
  end

  test "a number that a law cannot use raises with its name" do
    for key <- [:limit, :elapsed_ms, :asked, :denied, :guarded, :in_flight],
        value <- [-1, nil, "1", 1.0e16, :infinity] do
      observation = Map.put(%Observation{}, key, value)

      assert_raise ArgumentError, ~r/^observation: #{key}: expected/, fn ->
        Observation.check!(observation)
      end
    end

    for key <- [:asked, :denied, :guarded, :in_flight],
        do:
          assert_raise(ArgumentError, fn ->
            Observation.check!(Map.put(%Observation{}, key, 0.5))
          end)
  end

  test "work and levels are checked in their parts" do
    for {fields, message} <- [
          {[fresh: nil], "fresh: expected a RateLimiter.Adaptive.Work"},
          {[earlier: %Work{errors: -1}], "earlier.errors: expected an integer"},
          {[fresh: %Work{latency: []}],
           "fresh.latency: expected a RateLimiter.Adaptive.Histogram"},
          {[pain: %{probe: 1.1}], "pain of :probe: expected a number from 0 to 1"},
          {[pleasure: [a: 1]], "pleasure: expected a map from source to level"}
        ] do
      error =
        assert_raise ArgumentError, fn -> Observation.check!(struct!(Observation, fields)) end

      assert error.message =~ message
    end
  end
end
