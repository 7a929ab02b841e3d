defmodule SpanTest do
  use ExUnit.Case, async: true

  setup context do
    prefix = [:span_test, context.test]
    events = for suffix <- [:start, :stop, :exception], do: prefix ++ [suffix]
    id = make_ref()
    :ok = :telemetry.attach_many(id, events, &Listener.echo/4, self())
    on_exit(fn -> :telemetry.detach(id) end)
    [start, stop, exception] = events
    %{prefix: prefix, start: start, stop: stop, exception: exception}
  end

  test "emits start, runs the function, emits stop and returns the result", context do
    %{prefix: prefix, start: start, stop: stop} = context
    before = :erlang.monotonic_time()

    result =
      :telemetry.span(prefix, %{start: true}, fn ->
        assert_received {:event, ^start, measurements, metadata}
        refute_received {:event, _, _, _}
        {{measurements, metadata}, %{stop: true}}
      end)

    assert {%{monotonic_time: began, system_time: system} = from, metadata} = result
    assert map_size(from) == 2
    assert began >= before
    assert abs(system - :erlang.system_time()) < :erlang.convert_time_unit(60, :second, :native)
    assert %{start: true, telemetry_span_context: span} = metadata
    assert map_size(metadata) == 2
    assert is_reference(span)

    assert_received {:event, ^stop, %{duration: duration, monotonic_time: ended} = to, metadata}
    assert map_size(to) == 2
    assert duration == ended - began
    assert metadata == %{stop: true, telemetry_span_context: span}
    refute_received {:event, _, _, _}
  end

  test "takes extra measurements, which replace none", %{start: start, stop: stop} = context do
    result =
      :telemetry.span(context.prefix, %{}, fn ->
        {:result, %{bytes: 3, duration: :no, monotonic_time: :no}, %{stop: true}}
      end)

    assert result == :result
    assert_received {:event, ^start, %{monotonic_time: began}, %{telemetry_span_context: span}}
    assert_received {:event, ^stop, measurements, metadata}
    assert %{bytes: 3, duration: duration, monotonic_time: ended} = measurements
    assert map_size(measurements) == 3
    assert duration == ended - began
    assert metadata == %{stop: true, telemetry_span_context: span}
  end

  for {kind, reason} <- [error: :badarith, throw: :ball, exit: :done] do
    test "emits exception and raises again by #{kind}", %{start: start} = context do
      %{exception: exception, prefix: prefix} = context
      kind = unquote(kind)
      reason = unquote(reason)

      {caught, stacktrace} =
        try do
          :telemetry.span(prefix, %{start: true}, fn ->
            Listener.fail(nil, nil, nil, {kind, reason})
          end)
        catch
          kind, reason -> {{kind, reason}, __STACKTRACE__}
        end

      assert caught == {kind, reason}
      assert_received {:event, ^start, %{monotonic_time: began}, %{telemetry_span_context: span}}
      assert_received {:event, ^exception, measurements, metadata}
      assert %{duration: duration, monotonic_time: ended} = measurements
      assert map_size(measurements) == 2
      assert duration == ended - began

      assert metadata == %{
               start: true,
               kind: kind,
               reason: reason,
               stacktrace: stacktrace,
               telemetry_span_context: span
             }

      assert [{Listener, :fail, 4, _} | _] = stacktrace
      refute_received {:event, _, _, _}
    end
  end

  test "keeps the contexts it is given", %{start: start, stop: stop} = context do
    :telemetry.span(context.prefix, %{telemetry_span_context: :a}, fn ->
      {:ok, %{telemetry_span_context: :b}}
    end)

    assert_received {:event, ^start, _, metadata}
    assert metadata == %{telemetry_span_context: :a}
    assert_received {:event, ^stop, _, metadata}
    assert metadata == %{telemetry_span_context: :b}
  end

  test "has a context of its own at each call", %{start: start} = context do
    for _ <- 1..2, do: :telemetry.span(context.prefix, %{}, fn -> {:ok, %{}} end)
    assert_received {:event, ^start, _, %{telemetry_span_context: one}}
    assert_received {:event, ^start, _, %{telemetry_span_context: other}}
    assert one != other
  end

  test "accepts the empty prefix" do
    assert :ok = :telemetry.span([], %{}, fn -> {:ok, %{}} end)
  end

  test "fails on a result of another shape, which is no exception of the function", context do
    assert_raise TryClauseError, fn ->
      :telemetry.span(context.prefix, %{}, fn -> :result end)
    end

    %{start: start} = context
    assert_received {:event, ^start, _, _}
    refute_received {:event, _, _, _}
  end
end
