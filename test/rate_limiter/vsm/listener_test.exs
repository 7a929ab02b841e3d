defmodule RateLimiter.VSM.ListenerTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Support.ScriptedLaw
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM
  alias RateLimiter.VSM.{Gate, Listener, Tree}

  @moduletag :capture_log

  # The test takes the steps. The controllers' own timer is a day.
  @never 86_400_000

  setup context do
    %{name: {__MODULE__, context.test}}
  end

  defp start(name, subsystems) do
    sensors = [schedulers: false, run_queue: false, timer: false, memory: false]
    vsm = [subsystems: subsystems, interval: @never, sensors: sensors]
    start_supervised!({RateLimiter, name: name, vsm: vsm}, id: name)
  end

  defp child(supervisor, id) do
    {^id, pid, _, _} = supervisor |> Supervisor.which_children() |> List.keyfind(id, 0)
    pid
  end

  describe "the option :health" do
    test "counts work by telemetry events and explains invalid measures", %{name: name} do
      event = [:my_app, :repo, :query]

      measure = fn
        %{total: ms}, %{result: result} -> {result, ms}
        _measurements, %{ignore: true} -> :ignore
        _measurements, %{raise: true} -> raise "a bug in the measure"
        _measurements, %{odd: true} -> {:fine, -1}
      end

      start(name,
        a: [
          limit: 10,
          per: :day,
          law: ScriptedLaw.options(self(), key: {name, :observed}),
          health: {event, measure}
        ]
      )

      :telemetry.execute(event, %{total: 12}, %{result: :ok})
      :telemetry.execute(event, %{total: 1.5}, %{result: :error})
      :telemetry.execute(event, %{}, %{ignore: true})
      for _ <- 1..2, do: :telemetry.execute(event, %{}, %{raise: true})
      :telemetry.execute(event, %{}, %{odd: true})
      :telemetry.execute(event, %{total: 12}, %{result: :ok})
      Clock.step({:controller, Tree.fetch!(name), :a})

      key = {name, :observed}
      assert_received {:step, ^key, %{fresh: %{ok: 2, errors: 1, latency: %{sum_us: 24_000}}}, _}
      assert [%{held_by: :no_opinion, sentence: sentence}] = VSM.explain(:a, name)

      assert sentence ==
               "The :health function of #{inspect(event)} failed 3 times: these events are not counted."
    end

    test "explains a measure that keeps failing at most once per minute" do
      event = [:my_app, :failing]

      RateLimiter.Test.start(
        vsm: [
          subsystems: [
            a: [limit: 10, per: :day, law: Fixed, health: {event, fn _, _ -> throw(:no) end}]
          ]
        ]
      )

      for _ <- 1..121 do
        :telemetry.execute(event, %{}, %{})
        RateLimiter.Test.advance(1_000)
      end

      assert for(%{sentence: sentence} <- VSM.explain(:a), do: sentence) == [
               "The :health function of #{inspect(event)} failed 60 times: these events are not counted.",
               "The :health function of #{inspect(event)} failed 60 times: these events are not counted.",
               "The :health function of #{inspect(event)} failed once: these events are not counted."
             ]
    end

    test "detaches its handler when the instance has stopped or was killed", %{name: name} do
      event = [:my_app, :stopped]

      subsystems = [
        a: [limit: 10, per: :day, law: Fixed, health: {event, fn _, _ -> {:ok, 1} end}]
      ]

      start(name, subsystems)
      assert [_] = :telemetry.list_handlers(event)
      stop_supervised!(name)
      assert :telemetry.list_handlers(event) == []

      Process.flag(:trap_exit, true)

      {:ok, pid} =
        RateLimiter.start_link(name: name, vsm: [subsystems: subsystems, interval: @never])

      refs = for {_id, child, _, _} <- Supervisor.which_children(pid), do: Process.monitor(child)
      Process.exit(pid, :kill)
      assert_receive {:EXIT, ^pid, :killed}, 30_000
      for ref <- refs, do: assert_receive({:DOWN, ^ref, :process, _, _}, 30_000)
      :telemetry.execute(event, %{}, %{})
      :telemetry.execute(event, %{}, %{})
      assert :telemetry.list_handlers(event) == []
    end

    test "counts each event once after the listener was killed", %{name: name} do
      event = [:my_app, :again]
      start(name, a: [limit: 10, per: :day, law: Fixed, health: {event, fn _, _ -> {:ok, 1} end}])
      vsm = child(Registry.whereis({:instance, name}), VSM.Supervisor)
      listener = child(vsm, Listener)
      ref = Process.monitor(listener)
      Process.exit(listener, :kill)
      assert_receive {:DOWN, ^ref, :process, ^listener, :killed}, 30_000
      # The supervisor answers after it has restarted its child.
      assert child(vsm, Listener) != listener
      :telemetry.execute(event, %{}, %{})
      assert {%{ok: 1}, _} = Gate.drain(Tree.subsystem!(name, :a).gate)
    end
  end
end
