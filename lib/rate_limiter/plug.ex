if match?({:module, _}, Code.ensure_compiled(Plug.Conn)) do
  defmodule RateLimiter.Plug do
    @moduledoc """
    A plug that checks each request against a limiter.

        plug RateLimiter.Plug, limiter: :api

    A denied request is answered with a problem document: 429 if the client has used its quota, 503 while Redis is away or
    the limit is scaled down. Each response has the fields of `RateLimiter.HTTP.fields/2`. This module exists where Plug
    is a dependency of the application.

    ## Options

    #{RateLimiter.Plug.Options.docs()}

    `:format` and `:jitter` are those of `RateLimiter.HTTP.fields/2`. `:trust`, `:hops`, `:header` and `:v6` are those of
    `RateLimiter.HTTP.client_ip/3`: behind a proxy, name its addresses in `:trust`, or all clients share its address.

    Options are checked by `init/1`. Where that runs when the router is compiled, as in production with Phoenix, each
    function is a capture such as `&MyApp.Limits.id/1`.

    Place the plug before `Plug.Parsers`, and the body of a denied request is not read.

    ## Charge by response

    With `charge: {:response, fun}` the cost is taken when the request arrives, so that no number of simultaneous requests
    exceeds the limit, and `fun` decides by the connection about to be sent: `true` keeps the charge, `false` gives it
    back, and an integer from 0 to the cost keeps so much of it. To charge only failed logins, and to charge no
    unmodified responses:

        plug RateLimiter.Plug, limiter: :login, charge: {:response, &(&1.status == 401)}
        plug RateLimiter.Plug, limiter: :api, charge: {:response, &(&1.status != 304)}

    A request whose process ends before a response is sent stays charged.
    """

    @behaviour Plug

    alias Plug.Conn
    alias RateLimiter.HTTP
    alias RateLimiter.HTTP.Address
    alias RateLimiter.Plug.Options

    @doc "Checks the options. Raises `ArgumentError` for an invalid one."
    @impl true
    @spec init(keyword) :: map
    def init(options), do: Options.new!(options, &__MODULE__.refuse/2)

    @doc """
    Checks a request, and answers it if it is denied.

    Raises `ArgumentError` if the limiter or a window does not exist, or a function returned no valid id or cost.
    """
    @impl true
    @spec call(Conn.t(), map) :: Conn.t()
    def call(conn, %{skip: skip} = plug) do
      if skip != nil and skip.(conn), do: conn, else: check(conn, plug)
    end

    @doc """
    Answers a denied request with its problem document, and halts the connection. This is the default of `:on_deny`, for
    use by a function that does more:

        def log_and_refuse(conn, answer) do
          Logger.info("denied", path: conn.request_path)
          RateLimiter.Plug.refuse(conn, answer)
        end
    """
    @spec refuse(Conn.t(), RateLimiter.answer()) :: Conn.t()
    def refuse(conn, answer) do
      {status, type, body} = HTTP.problem(answer)
      conn |> Conn.put_resp_content_type(type, nil) |> Conn.send_resp(status, body) |> Conn.halt()
    end

    defp check(conn, plug) do
      {id, windows} = {id(conn, plug), of(plug.windows, conn)}
      options = [cost: of(plug.cost, conn), plan: of(plug.plan, conn)]

      case RateLimiter.check_and_track(plug.limiter, id, windows, options) do
        {:ok, usage} = answer -> conn |> fields(answer, plug) |> admit(plug, usage)
        _denied when plug.shadow -> conn
        {:error, :unavailable, _usage} = answer -> deny(conn, answer, plug, plug.on_unavailable)
        answer -> deny(conn, answer, plug, plug.on_deny)
      end
    end

    defp admit(conn, %{charge: :request}, _usage), do: conn

    defp admit(conn, %{charge: {:response, kept}} = plug, usage),
      do: Conn.register_before_send(conn, &settle(&1, kept.(&1), plug, usage))

    defp deny(conn, _answer, _plug, :allow), do: conn
    defp deny(conn, answer, plug, handler), do: conn |> fields(answer, plug) |> handler.(answer)

    defp settle(conn, true, _plug, _usage), do: conn

    defp settle(conn, false, plug, usage), do: settle(conn, 0, plug, usage)

    defp settle(conn, kept, plug, %{cost: cost} = usage)
         when is_integer(kept) and kept >= 0 and kept <= cost do
      case RateLimiter.refund(usage, cost: cost - kept) do
        {:ok, _usage} = answer -> fields(conn, answer, plug)
        # Redis is away, and the charge stays.
        {:error, :unavailable, _usage} -> conn
      end
    end

    defp settle(_conn, other, _plug, %{cost: cost}) do
      expected = "true, false or an integer from 0 to #{cost}"
      RateLimiter.Core.Options.expected!([:charge, :response], expected, other)
    end

    defp id(conn, %{id: nil} = plug), do: address(conn, plug)
    defp id(conn, plug), do: plug.id.(conn) || address(conn, plug)

    defp address(conn, plug), do: Address.client(conn.req_headers, conn.remote_ip, plug.address)

    defp of(fun, conn) when is_function(fun), do: fun.(conn)
    defp of(value, _conn), do: value

    # A client that slowed down for a limit in shadow mode would be limited.
    defp fields(conn, _answer, %{shadow: true}), do: conn

    defp fields(conn, answer, plug),
      do: Conn.merge_resp_headers(conn, HTTP.fields(answer, plug.fields))
  end
end
