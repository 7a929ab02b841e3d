# The part of LiveView that this project calls. Real libraries on the code path take its place.
unless Code.ensure_loaded?(Phoenix.LiveView) do
  defmodule Phoenix.LiveView.Socket do
    @moduledoc false
    defstruct assigns: %{__changed__: %{}}, private: %{}, redirected: nil
    @type t :: %__MODULE__{}
  end

  defmodule Phoenix.LiveView.Lifecycle do
    @moduledoc false
    defstruct handle_event: []

    def handle_event(event, params, socket) do
      hooks = socket.private.lifecycle.handle_event

      Enum.reduce_while(hooks, {:cont, socket}, fn {_id, hook}, {:cont, socket} ->
        case hook.(event, params, socket) do
          {:cont, socket} -> {:cont, {:cont, socket}}
          halted -> {:halt, halted}
        end
      end)
    end
  end

  defmodule Phoenix.LiveView do
    @moduledoc false
    def attach_hook(socket, id, stage, hook) do
      update_in(socket.private.lifecycle, fn lifecycle ->
        Map.update!(lifecycle, stage, fn hooks ->
          false = List.keymember?(hooks, id, 0)
          hooks ++ [{id, hook}]
        end)
      end)
    end

    def put_flash(socket, kind, message),
      do: put_in(socket.assigns.flash[Atom.to_string(kind)], message)
  end
end
