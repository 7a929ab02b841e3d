defmodule ApplicationTest do
  use ExUnit.Case

  @event [:application_test, :event]

  setup do
    on_exit(fn -> Application.ensure_all_started(:telemetry) end)
  end

  test "stopped, events are emitted to nobody, with a warning" do
    :ok = :telemetry.attach(:application_test, @event, &Listener.echo/4, self())
    :ok = Application.stop(:telemetry)

    assert :ok = :telemetry.execute(@event, %{}, %{})
    assert_received {:log, %{level: :warning, msg: {text, []}}}
    assert List.to_string(text) =~ "Failed to lookup telemetry handlers"

    assert :result = :telemetry.span(@event, %{}, fn -> {:result, %{}} end)
    assert_received {:log, %{level: :warning}}
    assert_received {:log, %{level: :warning}}
    refute_received {:event, _, _, _}
  end

  test "stopped, handlers can be neither attached nor detached, and none is listed" do
    :ok = Application.stop(:telemetry)

    assert {:noproc, _} =
             catch_exit(:telemetry.attach(:application_test, @event, &Listener.echo/4, nil))

    assert {:noproc, _} = catch_exit(:telemetry.detach(:application_test))
    assert {:noproc, _} = catch_exit(:telemetry.persist())
    assert [] = :telemetry.list_handlers([])
    assert_received {:log, %{level: :warning}}
  end

  test "started again, it has no handlers and takes new ones" do
    :ok = :telemetry.attach(:application_test, @event, &Listener.echo/4, self())
    :ok = Application.stop(:telemetry)
    :ok = Application.start(:telemetry)

    assert [] = :telemetry.list_handlers([])
    assert :ok = :telemetry.execute(@event, %{})
    refute_received _

    assert :ok = :telemetry.attach(:application_test, @event, &Listener.echo/4, self())
    assert :ok = :telemetry.execute(@event, %{n: 1})
    assert_received {:event, @event, %{n: 1}, _}
    assert :ok = :telemetry.detach(:application_test)
    assert :ok = :telemetry.execute(@event, %{n: 2})
    refute_received _
  end

  test "a table that dies is empty when it is back" do
    :ok = :telemetry.attach(:application_test, @event, &Listener.echo/4, self())
    table = Process.whereis(:telemetry_handler_table)
    Process.exit(table, :kill)
    await_another(table)

    assert [] = :telemetry.list_handlers([])
    assert :ok = :telemetry.execute(@event, %{})
    refute_received {:event, _, _, _}
    assert :ok = :telemetry.attach(:application_test, @event, &Listener.echo/4, self())
    assert :ok = :telemetry.execute(@event, %{})
    assert_received {:event, @event, _, _}
    assert :ok = :telemetry.detach(:application_test)
  end

  # Each turn is a call to the supervisor, which restarts the child on its own.
  defp await_another(pid) do
    case Supervisor.which_children(:telemetry_sup) do
      [{:telemetry_handler_table, new, :worker, _}] when is_pid(new) and new != pid -> :ok
      _ -> await_another(pid)
    end
  end
end
