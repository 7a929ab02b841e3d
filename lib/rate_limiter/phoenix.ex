defmodule RateLimiter.Phoenix do
  @moduledoc """
  Limits for sockets and channels of Phoenix: before a socket is connected, when a channel is joined, and for its messages.

  Endpoint and socket:

      socket "/socket", MyAppWeb.UserSocket,
        websocket: [
          connect_info: [:peer_data, :x_headers],
          error_handler: {RateLimiter.Phoenix, :refuse, []}
        ]

      def connect(_params, socket, connect_info) do
        with {:ok, _usage} <- RateLimiter.Phoenix.connect(connect_info, limiter: :connect), do: {:ok, socket}
      end

  A denied client gets 429 with the fields of `RateLimiter.HTTP`, and no socket. Channel:

      def handle_in("message", message, socket) do
        case RateLimiter.check_and_track(:messages, socket.assigns.user_id) do
          {:ok, _usage} -> {:noreply, deliver(socket, message)}
          denied -> {:reply, RateLimiter.Phoenix.error(denied), socket}
        end
      end

  In `join/3`, `RateLimiter.Phoenix.error(denied)` is the whole answer. Events of LiveView have
  `RateLimiter.LiveView`.
  """

  alias RateLimiter.Core.Options
  alias RateLimiter.HTTP.Address
  alias RateLimiter.Usage

  @address [:trust, :hops, :header, :v6]

  @schema [
    limiter: [type: :atom, required: true, doc: "the name of the limiter."],
    windows: [
      type: :any,
      default: [],
      doc: "a window, or a list of windows. The empty list is all."
    ],
    cost: [type: :integer, default: 1, doc: "the cost."]
  ]

  @doc """
  Checks a client that is about to connect a socket, by its address.

  Takes the `connect_info` of `connect/3`, for which the endpoint lists `:peer_data`, and behind a proxy `:x_headers`. Returns
  `{:ok, usage}`; or `{:error, answer}` with the denied answer, as `connect/3` returns it and `refuse/2` takes it from there.

  Options:

  #{Options.docs(@schema, "  ")}

  and `:trust`, `:hops`, `:header` and `:v6` of `RateLimiter.HTTP.client_ip/3`. Phoenix hands over headers that begin with
  `x-` only.

      iex> info = %{peer_data: %{address: {203, 0, 113, 7}, port: 4_711, ssl_cert: nil}, x_headers: []}
      iex> {:ok, usage} = RateLimiter.Phoenix.connect(info, limiter: :login, windows: :attempts)
      iex> usage.remaining
      4

  Raises `ArgumentError` for an invalid option, and if `:peer_data` is missing.
  """
  @spec connect(map, keyword) :: {:ok, Usage.t()} | {:error, RateLimiter.answer()}
  def connect(connect_info, options) do
    {address, options} = Keyword.split(options, @address)
    options = Options.validate!(options, @schema, [])
    id = address(connect_info, Address.options!(address))

    case RateLimiter.check_and_track(options.limiter, id, options.windows, cost: options.cost) do
      {:ok, usage} -> {:ok, usage}
      denied -> {:error, denied}
    end
  end

  @doc """
  Returns a denied answer as a channel replies it: `{:error, %{reason: reason, retry_after_ms: milliseconds}}`. The
  milliseconds are `nil` for a call that can never be admitted.

      iex> denied = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 6)
      iex> RateLimiter.Phoenix.error(denied)
      {:error, %{reason: :rate_limited, retry_after_ms: nil}}
  """
  @spec error(RateLimiter.answer()) ::
          {:error, %{reason: atom, retry_after_ms: non_neg_integer | nil}}
  def error({:error, reason, %Usage{retry_after_ms: wait}}) do
    {:error, %{reason: reason, retry_after_ms: if(wait != :infinity, do: wait)}}
  end

  if match?({:module, _}, Code.ensure_compiled(Plug.Conn)) do
    @doc """
    Answers a connection of which `connect/3` of the socket has returned `{:error, reason}`: the `:error_handler` of a
    `websocket:` or `longpoll:`.

    A denied answer of `connect/2` becomes what `RateLimiter.Plug` sends: 429 or 503 with a problem document, the rate limit
    fields and `retry-after`. Any other reason is 403 without a body, as by Phoenix itself. This function exists where Plug is
    a dependency of the application.
    """
    @spec refuse(Plug.Conn.t(), reason :: term) :: Plug.Conn.t()
    def refuse(conn, {:error, _reason, %Usage{}} = denied) do
      conn
      |> Plug.Conn.merge_resp_headers(RateLimiter.HTTP.fields(denied))
      |> RateLimiter.Plug.refuse(denied)
    end

    def refuse(conn, _reason), do: conn |> Plug.Conn.send_resp(403, "") |> Plug.Conn.halt()
  end

  defp address(%{peer_data: %{address: peer}} = info, options),
    do: Address.client(Map.get(info, :x_headers, []), peer, options)

  defp address(info, _options) do
    Options.expected!([:connect_info], "a map with :peer_data", info)
  end
end
