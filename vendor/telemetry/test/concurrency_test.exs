defmodule ConcurrencyTest do
  use ExUnit.Case, async: true

  @event [:concurrency_test, :event]

  test "of many that attach one id, one succeeds, and so of many that detach it" do
    id = make_ref()

    for _ <- 1..20 do
      attached = at_once(50, fn _ -> :telemetry.attach(id, @event, &Listener.echo/4, self()) end)
      assert %{:ok => 1, {:error, :already_exists} => 49} = Enum.frequencies(attached)
      assert [%{id: ^id}] = Enum.filter(:telemetry.list_handlers(@event), &(&1.id == id))

      detached = at_once(50, fn _ -> :telemetry.detach(id) end)
      assert %{:ok => 1, {:error, :not_found} => 49} = Enum.frequencies(detached)
    end
  end

  # Every process goes through many rounds of attach, execute, detach on shared
  # events. Before each event, an emitter reads which rounds are over, of all
  # processes; a handler called for a round that was over by then is stale.
  test "an event reaches who attached before it, and nobody who detached before it" do
    processes = 16
    rounds = 200
    over = :atomics.new(processes, [])
    stale = :counters.new(1, [])

    at_once(processes, fn n ->
      events = [@event ++ [:shared], @event ++ [:"of_#{rem(n, 4)}"]]

      for round <- 1..rounds do
        id = {over, n}
        config = %{n: n, round: round, stale: stale, pid: self()}
        :ok = :telemetry.attach_many(id, events, &__MODULE__.check/4, config)

        for event <- events do
          mark = make_ref()
          :ok = :telemetry.execute(event, %{}, %{mark: mark, over: over(over, processes)})
          assert_received {:called, ^mark, ^round}
        end

        :ok = :telemetry.detach(id)
        :ok = :atomics.put(over, n, round)

        for event <- events do
          mark = make_ref()
          :ok = :telemetry.execute(event, %{}, %{mark: mark, over: over(over, processes)})
          refute_received {:called, ^mark, _}
        end
      end
    end)

    assert :counters.get(stale, 1) == 0
    assert [] = :telemetry.list_handlers(@event ++ [:shared])
  end

  test "a handler that fails in many processes is detached once, and no caller fails" do
    failure = make_ref()
    :ok = :telemetry.attach(failure, [:telemetry, :handler, :failure], &Listener.echo/4, self())
    on_exit(fn -> :telemetry.detach(failure) end)

    for n <- 1..20 do
      id = {failure, n}
      event = @event ++ [:failing]
      :ok = :telemetry.attach(id, event, &Listener.fail/4, {:error, n})
      assert %{ok: 50} = Enum.frequencies(at_once(50, fn _ -> :telemetry.execute(event, %{}) end))
      assert [] = :telemetry.list_handlers(event)
      assert {:error, :not_found} = :telemetry.detach(id)
      assert_received {:event, _, _, %{handler_id: ^id, reason: ^n}}
    end
  end

  test "a new event is heard by all as soon as it is attached" do
    for n <- 1..100 do
      event = @event ++ [:"new_#{n}"]
      id = {self(), n}
      :ok = :telemetry.attach(id, event, &Listener.echo/4, self())
      at_once(4, fn _ -> :telemetry.execute(event, %{}) end)
      for _ <- 1..4, do: assert_received({:event, ^event, _, _})
      :ok = :telemetry.detach(id)
      at_once(4, fn _ -> :telemetry.execute(event, %{}) end)
      refute_received {:event, ^event, _, _}
    end
  end

  def check(_event, _measurements, metadata, %{n: n, round: round} = config) do
    if elem(metadata.over, n - 1) >= round, do: :counters.add(config.stale, 1, 1)
    send(config.pid, {:called, metadata.mark, round})
  end

  defp over(over, processes) do
    List.to_tuple(for n <- 1..processes, do: :atomics.get(over, n))
  end

  # Runs the function in that many processes, none of which begins before all
  # are there, and returns the results.
  defp at_once(count, function) do
    tasks =
      for n <- 1..count do
        Task.async(fn ->
          receive do
            :begin -> function.(n)
          end
        end)
      end

    for %Task{pid: pid} <- tasks, do: send(pid, :begin)
    Task.await_many(tasks, 60_000)
  end
end
