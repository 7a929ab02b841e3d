defmodule FailureTest do
  use ExUnit.Case

  @failure [:telemetry, :handler, :failure]

  setup context do
    id = {context.test, make_ref()}
    watch = make_ref()
    :ok = :telemetry.attach(watch, @failure, &Listener.echo/4, self())

    on_exit(fn ->
      :telemetry.detach(watch)
      :telemetry.detach(id)
    end)

    %{id: id, event: [:failure_test, context.test]}
  end

  for {kind, reason} <- [error: :badarith, throw: :ball, exit: :done] do
    test "a handler that fails by #{kind} is detached and reported", %{id: id, event: event} do
      kind = unquote(kind)
      reason = unquote(reason)
      config = {kind, reason}
      :ok = :telemetry.attach(id, event, &Listener.fail/4, config)

      assert :ok = :telemetry.execute(event, %{count: 1}, %{key: :k})
      assert [] = :telemetry.list_handlers(event)
      assert {:error, :not_found} = :telemetry.detach(id)

      assert_received {:event, @failure, measurements, metadata}
      assert %{monotonic_time: monotonic, system_time: system} = measurements
      assert map_size(measurements) == 2
      assert is_integer(monotonic) and is_integer(system)

      assert {stacktrace, metadata} = Map.pop!(metadata, :stacktrace)
      assert [{Listener, :fail, _, _} | _] = stacktrace

      assert metadata == %{
               event_name: event,
               handler_id: id,
               handler_config: config,
               kind: kind,
               reason: reason
             }

      assert_received {:log, %{level: :error, msg: {format, args}}}
      text = IO.chardata_to_string(:io_lib.format(format, args))
      assert text =~ "has failed and has been detached"
      assert text =~ "Class=#{kind}\nReason=#{reason}\nStacktrace="
    end
  end

  test "detaches from all events of the handler", %{id: id, event: event} do
    events = for n <- [:a, :b, :c], do: event ++ [n]
    :ok = :telemetry.attach_many(id, events, &Listener.fail/4, {:error, :oops})
    :ok = :telemetry.execute(hd(events), %{})
    assert [] = :telemetry.list_handlers(event)
    for event <- events, do: :telemetry.execute(event, %{})
    assert_received {:event, @failure, _, %{reason: :oops}}
    refute_received {:event, @failure, _, _}
  end

  test "stops no other handler", %{id: id, event: event} do
    :ok = :telemetry.attach({id, 1}, event, &Listener.echo/4, self())
    :ok = :telemetry.attach(id, event, &Listener.fail/4, {:throw, :ball})
    :ok = :telemetry.attach({id, 2}, event, &Listener.echo/4, self())

    :ok = :telemetry.execute(event, %{})
    assert_received {:event, ^event, _, _}
    assert_received {:event, ^event, _, _}
    assert :ok = :telemetry.detach({id, 1})
    assert :ok = :telemetry.detach({id, 2})
  end

  test "of a handler of failures ends there", %{id: id, event: event} do
    :ok = :telemetry.attach(id, @failure, &Listener.fail/4, {:error, :again})
    :ok = :telemetry.attach({id, 1}, event, &Listener.fail/4, {:error, :first})
    :ok = :telemetry.execute(event, %{})

    assert_received {:event, @failure, _, %{reason: :first}}
    assert_received {:event, @failure, _, %{reason: :again, event_name: @failure}}
    refute_received {:event, _, _, _}
    assert {:error, :not_found} = :telemetry.detach(id)
  end
end
