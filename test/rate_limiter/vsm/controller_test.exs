defmodule RateLimiter.VSM.ControllerTest do
  # The steps that a controller takes, and when. What survives its crash is in the supervisor's test.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Subsystems

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.{Algedonic, VSM}
  alias RateLimiter.Support.ScriptedLaw
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.{Controller, Loop, Subsystem, Table, Tree}

  setup %{test: key} do
    law = ScriptedLaw.options(self(), key: key)

    table =
      new(work: [law: law, limit: 10, per: :second], other: [law: Fixed, limit: 1, per: :second])

    {:ok, table: table, key: key}
  end

  defp start(table), do: start_supervised!({Controller, {table, :work}})

  # The times of the steps that the law has taken.
  defp steps(%{key: key} = context) do
    receive do
      {:step, ^key, observation, now_ms} -> [{now_ms, observation} | steps(context)]
    after
      0 -> []
    end
  end

  # An urgent step is requested, and handled if it was.
  defp urgent(%{table: table}) do
    Algedonic.report(Table.subsystem(table, :work), :pain, :probe, 1.0, nil)
    Clock.await({:controller, table, :work})
  end

  test "a tick is a whole step: the law decides, and the loop is saved",
       %{table: table} = context do
    start(table)
    advance(table, 500)
    Clock.step({:controller, table, :work})
    assert [{1_500, %{elapsed_ms: 500}}] = steps(context)
    assert %Loop{at_ms: 1_500, state: %{steps: 1}} = Table.get(table, {:loop, :work})
    assert Table.get(table, {:decision, :work}).scale == 1.0
  end

  test "great pain is an urgent step, at most once a second", %{table: table} = context do
    start(table)
    for ms <- [0, 400, 599, 1, 999, 1], do: advance(table, ms) && urgent(context)
    assert [{1_000, first}, {2_000, _}, {3_000, _}] = steps(context)
    assert first.pain == %{probe: 1.0}
    refute Subsystem.flag?(Table.subsystem(table, :work), :urgent)
  end

  test "an urgent step delays no tick, and a tick no urgent step", %{table: table} = context do
    start(table)
    urgent(context)
    Clock.step({:controller, table, :work})
    advance(table, 1_000)
    Clock.step({:controller, table, :work})
    urgent(context)

    assert [1_000, 1_000, 2_000, 2_000] =
             for({now_ms, _observation} <- steps(context), do: now_ms)
  end

  test "weaker pain is not urgent", %{table: table} = context do
    start(table)
    Algedonic.report(Table.subsystem(table, :work), :pain, :probe, 0.89, nil)
    Clock.await({:controller, table, :work})
    assert steps(context) == []
  end

  test "a new controller accepts the request for an urgent step that the previous one lost",
       context do
    %{table: table} = context
    # Nobody receives it.
    Algedonic.report(Table.subsystem(table, :work), :pain, :probe, 1.0, nil)
    start(table)
    Clock.await({:controller, table, :work})
    assert steps(context) == []
    urgent(context)
    assert [{1_000, _observation}] = steps(context)
  end

  test "a new controller resumes from the saved loop", %{table: table} = context do
    Loop.keep(%{Loop.resume(table, :work) | at_ms: 400})
    start(table)
    Clock.step({:controller, table, :work})
    assert [{1_000, %{elapsed_ms: 600}}] = steps(context)
  end

  test "messages of others change nothing", %{table: table} = context do
    pid = start(table)
    before = :sys.get_state(pid)

    for message <- [
          :step,
          {make_ref(), {:ok, []}},
          {:DOWN, make_ref(), :process, self(), :normal}
        ],
        do: send(pid, message)

    assert :sys.get_state(pid) == before
    assert steps(context) == []
  end

  describe "the timer" do
    # The delays of the timers that the controller starts at its next steps.
    defp delays(table, count) do
      pid = start(table)
      Clock.await({:controller, table, :work})
      :erlang.trace_pattern({:erlang, :send_after, :_}, true, [])
      :erlang.trace(pid, true, [:call])
      for _ <- 1..count, do: Clock.step({:controller, table, :work})
      :erlang.trace(pid, false, [:call])
      :erlang.trace_pattern({:erlang, :send_after, :_}, false, [])
      # After all messages of the trace.
      reference = :erlang.trace_delivered(pid)
      assert_receive {:trace_delivered, ^pid, ^reference}, 30_000
      started()
    end

    defp started do
      receive do
        {:trace, _pid, :call, {:erlang, :send_after, [delay_ms, _to, :tick | _options]}} ->
          [delay_ms | started()]
      after
        0 -> []
      end
    end

    test "is an interval long, and up to a tenth more or less" do
      vsm = [subsystems: [work: [law: Fixed, limit: 10, per: :second]], interval: 3_600_000]
      table = Tree.new(VSM.Config.new!(vsm, [:vsm]), {__MODULE__, self()}, :monotonic)
      delays = delays(table, 1_000)
      assert length(delays) == 1_000
      assert Enum.min(delays) in 3_240_000..3_260_000
      assert Enum.max(delays) in 3_940_000..3_960_000
    end

    test "does not run in a test that moves its clock", %{table: table} do
      assert delays(table, 3) == []
    end
  end
end
