defmodule RateLimiter.VSM.LeakTest do
  # Not async, since it measures memory.
  use ExUnit.Case, async: false

  import RateLimiter.Support.{Eventually, Growth, Processes}

  alias RateLimiter.{Algedonic, VSM}
  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.Tree

  @moduletag :slow

  @never 86_400_000

  setup :silence

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
