defmodule RateLimiter.Agreement.TallyTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories

  alias RateLimiter.Adaptive.{Histogram, Observation, Work}
  alias RateLimiter.Agreement.Counters

  # The fields that are counted.
  defp counted(observation),
    do: Map.take(observation, [:asked, :denied, :guarded, :fresh, :earlier])

  defp sum(observations) do
    Enum.reduce(observations, counted(%Observation{}), fn observation, all ->
      Map.merge(counted(observation), all, fn
        _key, %Work{} = a, b -> Work.add(a, b)
        _key, a, b -> a + b
      end)
    end)
  end

  test "an observation is the same after conversion to counters and back" do
    for_all seed, 50 do
      for observation <- history(seed, 5) do
        assert counted(Counters.observation(Counters.new(observation))) == counted(observation)
      end
    end
  end

  # As HINCRBY does.
  defp add(one, other), do: Map.merge(one, other, fn _name, a, b -> a + b end)

  test "the sum of nodes' counters is the observation of one node with all work, in any order" do
    for_all seed, 50 do
      observations = history(seed, 6)
      add = fn some -> some |> Enum.map(&Counters.new/1) |> Enum.reduce(&add/2) end
      together = add.(observations)

      assert add.(Enum.shuffle(observations)) == together
      assert counted(Counters.observation(together)) == sum(observations)
    end
  end

  test "percentiles are those of all calls, and not a mean of percentiles" do
    calls = fn us, count ->
      Enum.reduce(1..count, %Work{}, fn _, work -> Work.record(work, :ok, us) end)
    end

    fast = %Observation{fresh: calls.(1_000, 90)}
    slow = %Observation{fresh: calls.(100_000, 10)}
    both = Counters.observation(add(Counters.new(fast), Counters.new(slow)))
    assert round(Histogram.quantile(both.fresh.latency, 0.5)) == 1
    assert both.fresh.latency.sum_us == 90 * 1_000 + 10 * 100_000
  end

  test "missing counters are 0, and unknown ones are ignored" do
    assert Counters.new(%Observation{}) == %{}
    assert counted(Counters.observation(%{})) == counted(%Observation{})
    assert counted(Counters.observation(%{"later" => 3})) == counted(%Observation{})
  end
end
