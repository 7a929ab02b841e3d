defmodule AudienceTest do
  use ExUnit.Case

  import :telemetry_audience, only: [present: 1]

  @event [:audience_test, :event]

  setup do
    on_exit(fn -> Application.ensure_all_started(:telemetry) end)
  end

  test "is there from attach to detach, however many handlers there are" do
    refute present(@event)
    :ok = :telemetry.attach_many(:one, [@event, @event], &Listener.echo/4, self())
    :ok = :telemetry.attach(:two, @event, &Listener.echo/4, self())
    assert present(@event)
    refute present(@event ++ [:longer])

    :ok = :telemetry.detach(:one)
    assert present(@event)
    :ok = :telemetry.detach(:two)
    refute present(@event)
  end

  test "is gone with a handler that fails" do
    :ok = :telemetry.attach(:one, @event, &Listener.fail/4, {:error, :oops})
    :ok = :telemetry.execute(@event, %{})
    refute present(@event)
  end

  test "is gone with the application, and with the handlers when it is back" do
    :ok = :telemetry.attach(:one, @event, &Listener.echo/4, self())
    :ok = Application.stop(:telemetry)
    assert :closed = present(@event)

    :ok = Application.start(:telemetry)
    refute present(@event)
    :ok = :telemetry.attach(:other, @event ++ [:longer], &Listener.echo/4, self())
    refute present(@event)
    :ok = :telemetry.detach(:other)
  end
end
