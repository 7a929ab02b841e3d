defmodule RateLimiter.Libraries.PhoenixTest do
  # A socket and a channel of the guide, behind a real Phoenix and Bandit: see CONTRIBUTING.md.
  use ExUnit.Case

  alias RateLimiter.Support.Documents.Session
  alias RateLimiter.Support.{StructuredFields, WebSocket}

  @moduletag :libraries

  @endpoint RateLimiter.Libraries.PhoenixTest.Endpoint
  @path "/socket/websocket?vsn=2.0.0"

  setup do
    # The guide's modules, which the test of the guides may have defined.
    unless Code.ensure_loaded?(MyAppWeb.UserSocket), do: Session.define("guides/http.md")

    unless Code.ensure_loaded?(@endpoint) do
      Code.eval_string("""
      defmodule #{inspect(@endpoint)} do
        use Phoenix.Endpoint, otp_app: :rate_limiter

        socket "/socket", MyAppWeb.UserSocket,
          websocket: [
            connect_info: [:peer_data, :x_headers],
            error_handler: {RateLimiter.Phoenix, :refuse, []}
          ]
      end
      """)
    end

    for app <- [:plug_crypto, :phoenix_pubsub, :phoenix, :thousand_island, :bandit],
        do: {:ok, _} = Application.ensure_all_started(app)

    start_supervised!({Phoenix.PubSub, name: __MODULE__.PubSub})

    Application.put_env(:rate_limiter, @endpoint,
      adapter: Bandit.PhoenixAdapter,
      http: [ip: {127, 0, 0, 1}, port: 0],
      server: true,
      check_origin: false,
      pubsub_server: __MODULE__.PubSub,
      secret_key_base: String.duplicate("secret", 12)
    )

    start_supervised!(@endpoint)

    windows = [w: [limit: 2, per: :day]]
    limiters = [connect: [windows: windows], messages: [windows: windows]]
    start_supervised!({RateLimiter, name: :sockets, limiters: limiters})
    {:ok, {_address, port}} = apply(@endpoint, :server_info, [:http])
    token = apply(Phoenix.Token, :sign, [@endpoint, "user", 7])
    [port: port, token: token]
  end

  defp connect(%{port: port, token: token}, address, query \\ ""),
    do:
      WebSocket.connect(port, "#{@path}&token=#{URI.encode_www_form(token)}#{query}", [
        {"x-forwarded-for", address}
      ])

  test "a denied client gets a response with all fields, and no socket", context do
    for _ <- 1..2, do: assert({:ok, _socket} = connect(context, "203.0.113.7"))
    assert {:refused, 429, headers, body} = connect(context, "203.0.113.7")
    assert headers["content-type"] =~ "application/problem+json"
    assert body =~ "quota-exceeded"
    assert [{"w", %{"r" => 0}}] = StructuredFields.list!(headers["ratelimit"])
    assert String.to_integer(headers["retry-after"]) in 1..43_200
    # Another client, and another address that the denied one claims to be.
    assert {:ok, _socket} = connect(context, "203.0.113.8")
    assert {:refused, 429, _, _} = connect(context, "203.0.113.9, 203.0.113.7")
  end

  test "a token that is not valid is forbidden", context do
    assert {:refused, 403, _headers, ""} = connect(%{context | token: "forged"}, "203.0.113.7")
  end

  test "a channel answers a denied message", context do
    {:ok, socket} = connect(context, "203.0.113.7")

    assert [_, _, _, "phx_reply", %{"status" => "ok"}] =
             ask(socket, ["1", "1", "room:1", "phx_join", %{}])

    send_message = fn reference ->
      message = ["1", reference, "room:1", "message", %{"text" => "hi"}]
      assert ["1", ^reference, "room:1", "phx_reply", reply] = ask(socket, message)
      reply
    end

    for n <- 2..3,
        do: assert(%{"status" => "ok", "response" => %{"text" => "hi"}} = send_message.("#{n}"))

    assert %{"status" => "error", "response" => denied} = send_message.("4")
    assert %{"reason" => "rate_limited", "retry_after_ms" => wait} = denied
    assert wait in 1..43_200_000
  end

  defp ask(socket, message) do
    text = apply(Jason, :encode!, [message])
    apply(Jason, :decode!, [WebSocket.ask(socket, text)])
  end
end
