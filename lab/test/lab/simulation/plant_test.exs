defmodule Lab.Simulation.PlantTest do
  # The plant against queueing theory.
  use ExUnit.Case, async: true

  alias Lab.Simulation.{Plant, Resource, Scenario, Service, Size}

  defmodule Observer do
    @moduledoc false
    # Admits every call, and keeps its duration.
    use Lab.Simulation.Controller

    @impl true
    def new(_setting), do: %{count: 0, sum: 0.0}
    @impl true
    def admit(state, now, _in_flight), do: {true, now, state}
    @impl true
    def finished(state, %{outcome: :ok} = finished) do
      %{state | count: state.count + 1, sum: state.sum + finished.duration_ms}
    end

    def finished(state, _finished), do: state
    @impl true
    def level(_state), do: nil
  end

  defp mean_ms(size, demand, law, seconds \\ 2_000) do
    scenario = %Scenario{
      key: :steady,
      title: "steady",
      seconds: seconds,
      limit: 100.0,
      demand: demand
    }

    size = %{size | deadline_ms: 1.0e9}
    {_seconds, state} = Plant.run(Observer, scenario, size, seed: 3, law: law)
    state.sum / state.count
  end

  test "one worker, exponential work: the time in the system is 1 / (capacity - demand)" do
    # 20 a second at a load of a half: 100 ms.
    assert_in_delta mean_ms(Size.new({1, 20}), 0.5, :exponential), 100, 5
  end

  test "one worker, constant work: half of the waiting time of exponential work" do
    # Work of 50 ms, and 50 * 0.5 / (2 * 0.5) = 25 ms of waiting.
    assert_in_delta mean_ms(Size.new({1, 20}), 0.5, :constant), 75, 3
  end

  test "ten workers at 80 % load: the Erlang C formula" do
    # A call waits with probability 0.409, then for 1 / (100 - 80) s on average.
    assert_in_delta mean_ms(Size.new({10, 100}), 0.8, :exponential, 800), 100 + 0.409 * 50, 3
  end

  test "every law of service times has a mean of one" do
    for law <- [:constant, :exponential, {:erlang, 4}, {:lognormal, 2.0}] do
      {sum, _} =
        Enum.reduce(1..50_000, {0.0, :rand.seed_s(:exsss, 5)}, fn _, {sum, rand} ->
          {value, rand} = Service.draw(law, rand)
          {sum + value, rand}
        end)

      assert_in_delta sum / 50_000, 1.0, 0.05
    end
  end

  test "every controller gets the same calls" do
    scenario = %{Scenario.find(:a) | seconds: 5}
    size = Size.nominal()

    asked = fn module ->
      {seconds, _} = Plant.run(module, scenario, size, seed: 9, law: :exponential)
      Enum.map(seconds, & &1.asked)
    end

    assert asked.(Observer) == asked.(Lab.Simulation.Ours)
    refute asked.(Observer) == Enum.map(1..5, fn _ -> 0 end)
  end

  test "each call has exactly one outcome" do
    for key <- [:g, :i] do
      scenario = Scenario.find(key)

      {seconds, _} =
        Plant.run(Lab.Simulation.Ours, scenario, Size.nominal(),
          seed: 2,
          law: :exponential
        )

      sum = fn field -> seconds |> Enum.map(&Map.fetch!(&1, field)) |> Enum.sum() end
      still = List.last(seconds).in_flight
      assert sum.(:asked) == sum.(:denied) + sum.(:good) + sum.(:late) + sum.(:rejected) + still
    end
  end

  describe "the resource" do
    test "a stall delays every call, and the call of a lost worker never ends" do
      resource = Resource.new(2, 10)
      {:taken, resource} = Resource.offer(resource, 0.0, :a, 100.0)
      {:taken, resource} = Resource.offer(resource, 0.0, :b, 300.0)
      {:taken, resource} = Resource.offer(resource, 0.0, :c, 50.0)

      resource = Resource.change(resource, 50.0, 0.0, 2)
      assert Resource.next_ms(resource) == :infinity
      resource = Resource.change(resource, 1_050.0, 1.0, 2)
      assert Resource.next_ms(resource) == 1_100.0

      assert {:a, resource} = Resource.finish(resource)
      assert Resource.next_ms(resource) == 1_150.0
      # At half the speed 40 ms become 80 ms; the worker of b is removed.
      resource = Resource.change(resource, 1_110.0, 0.5, 1)
      assert Resource.next_ms(resource) == 1_190.0
      assert {:c, resource} = Resource.finish(resource)
      assert Resource.next_ms(resource) == :infinity
    end

    test "a call is rejected when the queue is full" do
      resource = Resource.new(1, 1)
      {:taken, resource} = Resource.offer(resource, 0.0, 1, 10.0)
      {:taken, resource} = Resource.offer(resource, 0.0, 2, 10.0)
      assert {:rejected, _} = Resource.offer(resource, 0.0, 3, 10.0)
    end
  end
end
