if match?({:module, _}, Code.ensure_compiled(Phoenix.LiveView)) do
  defmodule RateLimiter.LiveView do
    alias Phoenix.LiveView
    alias RateLimiter.Core.Options

    @schema [
      limiter: [type: :atom, required: true, doc: "the name of the limiter."],
      id: [
        type: {:custom, &__MODULE__.id?/1, "a function of the socket"},
        required: true,
        doc:
          "a function of the socket that returns the id, such as that of the user in its assigns."
      ],
      windows: [
        type: :any,
        default: [],
        doc: "a window, or a list of windows. The empty list is all."
      ],
      cost: [type: :integer, default: 1, doc: "the cost of an event."],
      on_deny: [
        type: {:custom, &__MODULE__.handler?/1, "a function of the socket and the answer"},
        doc:
          "a function of the socket and the denied answer that returns the socket. By default the socket gets a " <>
            "flash message."
      ]
    ]

    @moduledoc """
    A hook of LiveView that checks each event of a client against a limiter.

        live_session :default,
          on_mount: [{RateLimiter.LiveView, limiter: :events, id: &MyAppWeb.Limits.user_id/1}] do

    An event that is denied does not reach `handle_event/3`. This module exists where LiveView is a dependency of the
    application.

    ## Options

    #{Options.docs(@schema)}
    """

    @doc "Attaches the hook. Raises `ArgumentError` for an invalid option."
    @spec on_mount(keyword, term, term, LiveView.Socket.t()) :: {:cont, LiveView.Socket.t()}
    def on_mount(options, _params, _session, socket) do
      options = Options.validate!(options, @schema, [])
      hook = fn _event, _params, socket -> check(socket, options) end
      {:cont, LiveView.attach_hook(socket, {__MODULE__, options.limiter}, :handle_event, hook)}
    end

    @doc false
    def id?(fun), do: is_function(fun, 1)

    @doc false
    def handler?(fun), do: is_function(fun, 2)

    defp check(socket, options) do
      id = options.id.(socket)

      case RateLimiter.check_and_track(options.limiter, id, options.windows, cost: options.cost) do
        {:ok, _usage} -> {:cont, socket}
        denied -> {:halt, deny(socket, denied, options.on_deny)}
      end
    end

    defp deny(socket, {:error, _reason, usage}, nil),
      do: LiveView.put_flash(socket, :error, "Too many requests." <> hint(usage.retry_after_ms))

    defp deny(socket, denied, on_deny), do: on_deny.(socket, denied)

    defp hint(:infinity), do: ""
    defp hint(ms), do: " Try again in #{max(div(ms + 999, 1_000), 1)} s."
  end
end
