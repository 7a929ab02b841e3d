defmodule RateLimiter.HealthTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Health

  alias RateLimiter.Sensors.{Function, Mailboxes, Memory, Reading, Schedulers, Timer}

  doctest Timer

  defmodule Odd do
    @behaviour RateLimiter.Health
    def init(options), do: options[:begin] || 0
    def measure(:exit), do: exit(:gone)
    def measure(:throw), do: throw(:ball)
    def measure(:odd), do: :what
    def measure(:slow), do: Process.sleep(:infinity)
    def measure(:silent), do: {:no_opinion, {:no, "words"}, :silent}
    def measure(:endless), do: {:ok, Integer.pow(10, 400), :endless}
    def measure(n), do: {:ok, n, n + 1}
  end

  # Longer than a machine stands still.
  @patient_ms 30_000

  # The second reading of a sensor.
  defp second(module, options \\ []) do
    {_first, state} = Reading.take(module, module.init(options), @patient_ms)
    {reading, _state} = Reading.take(module, state, @patient_ms)
    reading
  end

  describe "a reading of" do
    test "schedulers is the share of busy time" do
      {{:no_opinion, _}, state} = Reading.take(Schedulers, Schedulers.init([]))

      busy =
        for _ <- 1..:erlang.system_info(:schedulers_online),
            do: Task.async(fn -> Enum.sum(1..3_000_000) end)

      Task.await_many(busy, :infinity)
      assert {{:ok, share}, _state} = Reading.take(Schedulers, state)
      assert share > 0.0 and share <= 1.0
    end

    test "memory is its share of the limit" do
      # Other tests allocate and free memory at the same time.
      assert Enum.any?(1..1_000, fn _reading ->
               total = :erlang.memory(:total)
               assert {:ok, half} = second(Memory, limit: 2 * total)
               abs(half - 0.5) < 0.25
             end)

      assert {:no_opinion, "the memory of this system is unknown: set :limit"} =
               elem(Reading.take(Memory, nil), 0)

      if File.exists?("/proc/meminfo"),
        do: assert({:ok, share} = second(Memory)) && assert(share < 1.0)
    end

    test "mailboxes is the longest queue of the processes that run" do
      many = spawn(fn -> Process.sleep(:infinity) end)
      few = spawn(fn -> Process.sleep(:infinity) end)
      for n <- 1..30, do: send(many, n)
      send(few, 1)
      assert {:ok, 30} = second(Mailboxes, watch: [few, many, :nobody_of_this_name])
      for pid <- [many, few], do: Process.exit(pid, :kill)
      ref = Process.monitor(many)
      assert_receive {:DOWN, ^ref, _, _, _}, 30_000

      assert {:no_opinion, "none of [:nobody_of_this_name] is running"} =
               second(Mailboxes, watch: [:nobody_of_this_name])
    end

    test "the timer is the second largest of a hundred values" do
      assert Timer.worst(Enum.to_list(1..100)) == 99
      assert Timer.worst([7]) == 7
    end

    test "the timer comes from a process that ends with its reader" do
      {:ok, reader} = Agent.start(fn -> Reading.take(Timer, Timer.init([])) end)
      {{:no_opinion, _}, {pid, cell, times}} = Agent.get(reader, & &1)
      # An earlier reading, before a hundred timers of 10 ms, has no opinion.
      assert late = eventually(fn -> with -1 <- :atomics.get(cell, 1), do: nil end)
      assert {{:ok, ms}, _} = Reading.take(Timer, {pid, cell, times})
      assert late >= 0 and ms >= 0
      ref = Process.monitor(pid)
      Agent.stop(reader)
      assert_receive {:DOWN, ^ref, _, _, _}, 30_000
    end

    test "a function is its result" do
      assert {:ok, 42} = second(Function, measure: fn -> 42 end)

      assert {:no_opinion, "expected a number, got: :many"} =
               second(Function, measure: fn -> :many end)
    end

    test "a module keeps the state of its last reading" do
      assert {:ok, 6} = second(Odd, begin: 5)
    end

    test "a failing sensor is no opinion with a reason, and keeps its state" do
      for {state, why} <- [
            {:exit, "exit: :gone"},
            {:throw, "throw: :ball"},
            {:odd, "expected a reading, got: :what"},
            {:silent, "{:no, \"words\"}"}
          ] do
        assert Reading.take(Odd, state, @patient_ms) == {{:no_opinion, why}, state}
      end

      assert Reading.take(Odd, :slow) == {{:no_opinion, "it took longer than 500 ms"}, :slow}

      # An integer that no float can hold cannot be compared with a threshold.
      assert {{:no_opinion, "expected a reading, got: {:ok, #Integer<" <> _}, :endless} =
               Reading.take(Odd, :endless, @patient_ms)

      assert {{:no_opinion, "it raised RuntimeError: no pool"}, _} =
               Reading.take(Function, fn -> raise "no pool" end, @patient_ms)
    end
  end

  describe "Reading.report/2" do
    test "turns a value into stress by three thresholds" do
      assert Reading.report({:ok, 4}, {1, 4, 8}) == %{value: 4, stress: 0.5, no_opinion: nil}

      assert Reading.report({:no_opinion, "why"}, {1, 4, 8}) == %{
               value: nil,
               stress: nil,
               no_opinion: "why"
             }
    end
  end

  describe "report/1" do
    test "raises for an instance without subsystems" do
      RateLimiter.Test.start(name: :unwell, limiters: [])
      assert_raise ArgumentError, ~r/has no subsystems/, fn -> Health.report(:unwell) end
      assert_raise ArgumentError, ~r/no instance/, fn -> Health.report(:unknown) end
    end
  end
end
