defmodule PersistTest do
  use ExUnit.Case

  @event [:persist_test, :event]

  setup do
    on_exit(fn ->
      Application.stop(:telemetry)
      :ok = Application.start(:telemetry)
    end)
  end

  test "keeps who was attached before" do
    :ok = :telemetry.attach(:before, @event, &Listener.echo/4, self())
    assert :ok = :telemetry.persist()
    assert :ok = :telemetry.execute(@event, %{n: 1}, %{})
    assert_received {:event, @event, %{n: 1}, _}
    assert [%{id: :before, event_name: @event}] = :telemetry.list_handlers(@event)
    assert {:error, :already_exists} = :telemetry.attach(:before, @event, &Listener.echo/4, nil)
  end

  test "changes nothing of what comes after it" do
    :ok = :telemetry.persist()
    assert :ok = :telemetry.execute(@event, %{n: 0})
    refute_received {:event, _, _, _}

    :ok = :telemetry.attach_many(:one, [@event, @event ++ [:longer]], &Listener.echo/4, self())
    :ok = :telemetry.attach(:two, @event, &Listener.fail/4, {:error, :oops})
    assert :ok = :telemetry.execute(@event, %{n: 1})
    assert_received {:event, @event, %{n: 1}, _}
    assert [%{id: :one}] = :telemetry.list_handlers(@event ++ [:longer])
    assert {:error, :not_found} = :telemetry.detach(:two)

    :ok = :telemetry.detach(:one)
    assert :ok = :telemetry.execute(@event, %{n: 2})
    assert :ok = :telemetry.execute(@event ++ [:longer], %{n: 2})
    refute_received {:event, _, _, _}
    assert [] = :telemetry.list_handlers([])
  end

  test "asks no table for who is to be called" do
    :ok = :telemetry.attach(:one, @event, &Listener.echo/4, self())
    :ok = :telemetry.persist()
    assert [{@event, :one, _, _}] = :telemetry_audience.present(@event)
    refute :telemetry_audience.present(@event ++ [:longer])
  end

  test "calls the handlers in the order of attaching" do
    ids = for n <- 1..20, do: {n, make_ref()}
    for id <- ids, do: :ok = :telemetry.attach(id, @event, &Listener.echo/4, self())
    :ok = :telemetry.persist()
    assert for({_, id, _, _} <- :telemetry_audience.present(@event), do: id) == ids
  end

  test "ends with the application" do
    :ok = :telemetry.attach(:one, @event, &Listener.echo/4, self())
    :ok = :telemetry.persist()
    :ok = Application.stop(:telemetry)
    assert :ok = :telemetry.execute(@event, %{})
    assert_received {:log, %{level: :warning}}

    :ok = Application.start(:telemetry)
    refute :telemetry_audience.persisted()
    assert :ok = :telemetry.execute(@event, %{})
    refute_received {:event, _, _, _}
  end
end
