defmodule RateLimiter.VSM.LeakTest do
  # Not async, since it measures memory.
  use ExUnit.Case, async: false

  import RateLimiter.Support.Eventually

  alias RateLimiter.{Algedonic, VSM}
  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.Tree

  @moduletag :slow

  @megabyte 1_048_576
  @never 86_400_000

  setup do
    level = Logger.level()
    Logger.configure(level: :none)
    on_exit(fn -> Logger.configure(level: level) end)
  end

  defp options do
    [
      name: :vsm_leak,
      vsm: [
        interval: @never,
        sensors: [schedulers: false, run_queue: false, timer: false, memory: false],
        subsystems: [
          a: [
            limit: 1_000_000,
            per: :second,
            law: Fixed,
            health: {[:vsm_leak, :done], &__MODULE__.measure/2}
          ],
          b: [limit: 10, per: :second, parent: :a, law: Fixed]
        ]
      ]
    ]
  end

  @doc false
  def measure(_measurements, _metadata), do: {:ok, 1}

  defp live(end_of_life) do
    {:ok, supervisor} = RateLimiter.start_link(options())
    {:ok, :done} = VSM.run(:a, "u", fn -> :done end, instance: :vsm_leak)
    Algedonic.pain(:b, 0.95, instance: :vsm_leak)
    Clock.step({:controller, Tree.fetch!(:vsm_leak), :b})
    end_of_life.(supervisor)
    :telemetry.execute([:vsm_leak, :done], %{}, %{})
  end

  defp kill(supervisor) do
    Process.flag(:trap_exit, true)
    Process.exit(supervisor, :kill)
    assert_receive {:EXIT, ^supervisor, :killed}, 30_000
  end

  defp size do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)

    %{
      memory: :erlang.memory(:total),
      processes: length(Process.list()),
      tables: length(:ets.all()),
      handlers: length(:telemetry.list_handlers([]))
    }
  end

  # The first rounds load code and warm up allocators. Killed processes are cleaned up asynchronously.
  defp assert_no_growth(rounds, round) do
    for _ <- 1..div(rounds, 5), do: round.()
    before = size()
    for _ <- 1..rounds, do: round.()
    eventually(fn -> grown(before, size()) == [] end, fn -> grown(before, size()) end)
  end

  defp grown(before, later) do
    for {key, most} <- [memory: @megabyte, processes: 2, tables: 4, handlers: 0],
        later[key] - before[key] > most,
        do: {key, before[key], later[key]}
  end

  describe "hundreds of instances" do
    test "with subsystems that are stopped leave no memory, process, table or handler" do
      assert_no_growth(500, fn -> live(&Supervisor.stop/1) end)
    end

    test "with subsystems that are killed leave no memory, process, table or handler" do
      assert_no_growth(500, fn -> live(&kill/1) end)
    end
  end

  describe "many calls" do
    setup do
      start_supervised!({RateLimiter, options()})
      :ok
    end

    test "that return, throw or are killed leave no memory" do
      assert_no_growth(2_000, fn ->
        VSM.run(:a, "u", fn -> :ok end, instance: :vsm_leak)
        catch_throw(VSM.run(:a, "u", fn -> throw(:x) end, instance: :vsm_leak))

        test = self()
        work = fn -> send(test, :at_work) && Process.sleep(:infinity) end
        pid = spawn(fn -> VSM.run(:a, "u", work, instance: :vsm_leak) end)
        assert_receive :at_work, 30_000
        Process.exit(pid, :kill)
      end)

      assert eventually(fn -> VSM.subsystem_metrics(:vsm_leak).a.in_flight == 0 end)
    end

    test "of pain/3 from new sources leave no memory" do
      assert_no_growth(2_000, fn ->
        Algedonic.pain(:a, 0.1,
          source: make_ref(),
          reason: String.duplicate("x", 100),
          instance: :vsm_leak
        )
      end)
    end
  end
end
