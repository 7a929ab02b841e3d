defmodule TelemetryTest do
  use ExUnit.Case, async: true

  setup context do
    id = {context.test, make_ref()}
    on_exit(fn -> :telemetry.detach(id) end)
    %{id: id, event: [:telemetry_test, context.test]}
  end

  describe "attach/4" do
    test "returns :ok, and an error for an id that is taken", %{id: id, event: event} do
      assert :ok = :telemetry.attach(id, event, &Listener.echo/4, self())
      assert {:error, :already_exists} = :telemetry.attach(id, event, &Listener.echo/4, self())

      assert {:error, :already_exists} =
               :telemetry.attach_many(id, [event ++ [:other]], &Listener.echo/4, self())

      assert [_] = :telemetry.list_handlers(event)
    end

    test "takes any term for an id, and tells 1 from 1.0", %{event: event} do
      ids = [1, 1.0, :_, :"$1", {:_, []}, "text", make_ref(), %{a: 1}, %{}]
      for id <- ids, do: assert(:ok = :telemetry.attach(id, event, &Listener.echo/4, self()))
      assert length(:telemetry.list_handlers(event)) == length(ids)

      for {id, n} <- Enum.with_index(ids, 1) do
        assert :ok = :telemetry.detach(id)
        assert length(:telemetry.list_handlers(event)) == length(ids) - n
        refute Enum.any?(:telemetry.list_handlers(event), &(&1.id === id))
      end
    end

    test "rejects what is not an event name", %{id: id} do
      for name <- ["name", :name, [], ["a", :b], [:a, "b"], [:a | :b], %{}, nil] do
        assert_raise ArgumentError, fn -> :telemetry.attach(id, name, &Listener.echo/4, nil) end
      end

      assert {:error, :not_found} = :telemetry.detach(id)
    end

    test "rejects what is not a function of four arguments", %{id: id, event: event} do
      for function <- [&Kernel.+/2, :function, nil, {Listener, :echo}] do
        assert_raise FunctionClauseError, ~r"attach_many/4", fn ->
          :telemetry.attach(id, event, function, nil)
        end
      end
    end
  end

  describe "attach_many/4" do
    test "attaches to every event, and detach/1 detaches from all", %{id: id, event: event} do
      events = for n <- [:a, :b, :c], do: event ++ [n]
      assert :ok = :telemetry.attach_many(id, events, &Listener.echo/4, self())

      for event <- events do
        :telemetry.execute(event, %{n: 1}, %{})
        assert_received {:event, ^event, %{n: 1}, %{}}
      end

      assert :ok = :telemetry.detach(id)
      for event <- events, do: :telemetry.execute(event, %{n: 1}, %{})
      refute_received {:event, _, _, _}
      assert [] = :telemetry.list_handlers(event)
    end

    test "attaches twice to an event that is named twice", %{id: id, event: event} do
      assert :ok = :telemetry.attach_many(id, [event, event], &Listener.echo/4, self())
      :telemetry.execute(event, %{})
      assert_received {:event, ^event, _, _}
      assert_received {:event, ^event, _, _}
      refute_received {:event, _, _, _}

      assert :ok = :telemetry.detach(id)
      :telemetry.execute(event, %{})
      refute_received {:event, _, _, _}
    end

    test "attaches nothing to no events", %{id: id} do
      assert :ok = :telemetry.attach_many(id, [], &Listener.echo/4, self())
      assert {:error, :not_found} = :telemetry.detach(id)
    end

    test "attaches nothing if one name is wrong", %{id: id, event: event} do
      assert_raise ArgumentError, fn ->
        :telemetry.attach_many(id, [event, "name"], &Listener.echo/4, nil)
      end

      assert [] = :telemetry.list_handlers(event)
    end
  end

  describe "a local function" do
    test "is logged as information, even if the id is taken", %{id: id, event: event} do
      function = fn _, _, _, _ -> :ok end
      assert :ok = :telemetry.attach(id, event, function, :config)

      assert_received {:log,
                       %{level: :info, msg: {:report, report}, meta: %{report_cb: callback}}}

      assert report == %{
               handler_id: id,
               event_names: [event],
               function: function,
               config: :config,
               type: :local
             }

      {format, args} = callback.(report)
      assert {^format, ^args} = :telemetry.report_cb(report)
      assert IO.chardata_to_string(:io_lib.format(format, args)) =~ "is a local function"

      assert {:error, :already_exists} = :telemetry.attach(id, event, function, :config)
      assert_received {:log, %{level: :info}}
    end

    test "is not what a capture with its module is", %{id: id, event: event} do
      assert :ok = :telemetry.attach(id, event, &Listener.echo/4, self())
      refute_received {:log, _}
    end
  end

  describe "detach/1" do
    test "returns an error for an id that is not attached", %{id: id} do
      assert {:error, :not_found} = :telemetry.detach(id)
    end

    test "leaves other handlers of the event, in their order", %{id: id, event: event} do
      for n <- 1..3, do: :telemetry.attach({id, n}, event, &Listener.echo/4, self())
      assert :ok = :telemetry.detach({id, 2})
      assert [1, 3] = for(%{id: {_, n}} <- :telemetry.list_handlers(event), do: n) |> Enum.sort()
      for n <- [1, 3], do: :telemetry.detach({id, n})
    end

    test "leaves none behind when names and ids look like patterns", %{event: event} do
      name = event ++ [:"$1", :_]
      assert :ok = :telemetry.attach(:"$1", name, &Listener.echo/4, self())
      assert :ok = :telemetry.attach(:other, event ++ [:a, :b], &Listener.echo/4, self())
      assert :ok = :telemetry.detach(:"$1")
      assert [%{id: :other}] = :telemetry.list_handlers(event)
      assert :ok = :telemetry.detach(:other)
    end
  end

  describe "execute/3" do
    test "calls the handler with name, measurements, metadata and config", context do
      %{id: id, event: event} = context
      :telemetry.attach(id, event, &Listener.echo/4, self())
      assert :ok = :telemetry.execute(event, %{count: 1}, %{key: :k})
      assert_received {:event, ^event, %{count: 1}, %{key: :k}}
    end

    test "gives empty metadata when there is none", %{id: id, event: event} do
      :telemetry.attach(id, event, &Listener.echo/4, self())
      assert :ok = :telemetry.execute(event, %{count: 1})
      assert_received {:event, ^event, %{count: 1}, metadata}
      assert metadata == %{}
    end

    test "takes a number for the value, which is deprecated", %{id: id, event: event} do
      :telemetry.attach(id, event, &Listener.echo/4, self())

      for value <- [1, 2.5] do
        assert :ok = :telemetry.execute(event, value, %{key: :k})
        assert_received {:event, ^event, %{value: ^value}, %{key: :k}}
        assert_received {:log, %{level: :warning, msg: {text, []}}}
        assert List.to_string(text) =~ "deprecated"
      end

      assert :ok = :telemetry.execute(event, 3)
      assert_received {:event, ^event, %{value: 3}, %{}}
    end

    test "calls the handlers in the order of attaching", %{id: id, event: event} do
      for n <- 1..20, do: :telemetry.attach({id, n}, event, &__MODULE__.number/4, {self(), n})
      :telemetry.execute(event, %{})
      assert Enum.to_list(1..20) == for(_ <- 1..20, do: receive_number())
      for n <- 1..20, do: :telemetry.detach({id, n})
    end

    test "calls handlers of neither prefixes nor longer names", %{id: id, event: event} do
      :telemetry.attach(id, event ++ [:middle], &Listener.echo/4, self())
      :telemetry.execute(event, %{}, %{})
      :telemetry.execute(event ++ [:middle, :long], %{}, %{})
      refute_received {:event, _, _, _}
    end

    test "lets a handler attach and detach", %{id: id, event: event} do
      :telemetry.attach(id, event, &__MODULE__.replace/4, {id, self()})
      :telemetry.execute(event, %{n: 1})
      refute_received {:event, _, _, _}
      :telemetry.execute(event, %{n: 2})
      assert_received {:event, ^event, %{n: 2}, _}
    end

    test "rejects wrong arguments, listened to or not", %{id: id, event: event} do
      wrong = [
        [:name, %{}, %{}],
        [[], %{}, %{}],
        [[], 1, %{}],
        [event, "text", %{}],
        [event, [count: 1], %{}],
        [event, %{}, [key: :k]],
        [event, 1, nil]
      ]

      for args <- wrong do
        assert_raise FunctionClauseError, ~r"execute/3", fn ->
          apply(:telemetry, :execute, args)
        end
      end

      :telemetry.attach(id, event, &Listener.echo/4, self())
      assert_raise FunctionClauseError, fn -> :telemetry.execute(event, "text", %{}) end
      refute_received {:event, _, _, _}
    end
  end

  describe "list_handlers/1" do
    test "lists by prefix", %{id: id, event: event} do
      [first | _] = event
      :telemetry.attach(id, event ++ [:long], &Listener.echo/4, :config)

      handler = %{
        id: id,
        event_name: event ++ [:long],
        function: &Listener.echo/4,
        config: :config
      }

      assert [handler] == :telemetry.list_handlers(event)
      assert [handler] == :telemetry.list_handlers(event ++ [:long])
      assert handler in :telemetry.list_handlers([first])
      assert handler in :telemetry.list_handlers([])
      assert [] == :telemetry.list_handlers(event ++ [:long, :longer])
      assert [] == :telemetry.list_handlers(event ++ [:_])
    end

    test "rejects what is not a prefix" do
      for prefix <- [:name, "name", ["name"], [:a, 1], [:a | :b], nil] do
        assert_raise ArgumentError, fn -> :telemetry.list_handlers(prefix) end
      end
    end
  end

  describe "telemetry_test:attach_event_handlers/2" do
    test "sends messages until detached", %{event: event} do
      ref = :telemetry_test.attach_event_handlers(self(), [event, event ++ [:other]])
      assert is_reference(ref)

      :telemetry.execute(event, %{count: 1}, %{key: :k})
      assert_received {^event, ^ref, %{count: 1}, %{key: :k}}
      refute_received {:log, _}

      assert :ok = :telemetry.detach(ref)
      :telemetry.execute(event, %{count: 1}, %{key: :k})
      refute_received {_, ^ref, _, _}
    end
  end

  def number(_event, _measurements, _metadata, {pid, n}), do: send(pid, {:number, n})

  def replace(event, _measurements, _metadata, {id, pid}) do
    :ok = :telemetry.detach(id)
    :ok = :telemetry.attach(id, event, &Listener.echo/4, pid)
  end

  defp receive_number do
    receive do
      {:number, n} -> n
    after
      0 -> flunk("a handler was not called")
    end
  end
end
