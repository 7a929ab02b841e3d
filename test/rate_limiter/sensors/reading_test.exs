defmodule RateLimiter.Sensors.ReadingTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Sensors.Reading

  defmodule Sensor do
    def init(fun: fun), do: fun.()
    def measure(fun), do: fun.()
  end

  defp take(fun, deadline_ms \\ 5_000), do: Reading.take(Sensor, fun, deadline_ms)

  test "a number is a reading, with the sensor's next state" do
    for value <- [0, -3, 1.5, 1.0e300],
        do: assert(take(fn -> {:ok, value, :next} end) == {{:ok, value}, :next})
  end

  test "a sensor without an opinion says why, and keeps its next state" do
    assert take(fn -> {:no_opinion, "early", :next} end) == {{:no_opinion, "early"}, :next}
    assert take(fn -> {:no_opinion, :early, :next} end) == {{:no_opinion, ":early"}, :next}
  end

  test "a failure is no opinion, and leaves the state as it was" do
    for {fun, words} <- [
          {fn -> raise "broken" end, "it raised RuntimeError: broken"},
          {fn -> throw(:ball) end, "throw: :ball"},
          {fn -> exit(:gone) end, "exit: :gone"},
          {fn -> Process.exit(self(), :kill) end, "it exited: :killed"},
          {fn -> :other end, "expected a reading, got: :other"},
          {fn -> {:ok, nil, 1} end, "expected a reading"},
          {fn -> {:ok, 1.0e301, 1} end, "expected a reading"}
        ] do
      assert {{:no_opinion, reason}, ^fun} = take(fun)
      assert reason =~ words
    end
  end

  test "a sensor that takes too long is killed" do
    test = self()

    fun = fn ->
      send(test, {:sensor, self()})
      Process.sleep(:infinity)
    end

    assert {{:no_opinion, "it took longer than 20 ms"}, ^fun} = take(fun, 20)
    # The answer does not wait for the sensor, so it may have been killed before it ran.
    receive do
      {:sensor, pid} ->
        ref = Process.monitor(pid)
        assert_receive {:DOWN, ^ref, :process, ^pid, _reason}, 5_000
    after
      0 -> :ok
    end

    refute_received {:DOWN, _ref, :process, _pid, _reason}
  end

  test "a sensor that cannot be initialised says why" do
    assert Reading.init(Sensor, fun: fn -> 1 end) == {:ok, 1}

    assert {:failed, "it raised RuntimeError: no"} =
             Reading.init(Sensor, fun: fn -> raise "no" end)
  end

  test "a report has a value and its stress, or the reason why not" do
    thresholds = {1, 2, 3}
    assert %{value: 3, no_opinion: nil, stress: stress} = Reading.report({:ok, 3}, thresholds)
    assert stress == 1.0

    assert Reading.report({:no_opinion, "x"}, thresholds) == %{
             value: nil,
             stress: nil,
             no_opinion: "x"
           }
  end
end
