defmodule RateLimiter.Support.Web do
  @moduledoc false
  # Connections of Plug, for its stand-in and for the real one: for tests without a server, and from OTP's own web server,
  # which calls a plug for each request.

  require Record

  @httpd "inets/include/httpd.hrl"
  Record.defrecordp(:mod, Record.extract(:mod, from_lib: @httpd))
  Record.defrecordp(:init_data, Record.extract(:init_data, from_lib: @httpd))

  @doc "Returns a connection whose response is kept in it."
  @spec conn(keyword) :: Plug.Conn.t()
  def conn(fields \\ []) do
    struct!(
      %Plug.Conn{adapter: {__MODULE__, nil}, owner: self(), remote_ip: {127, 0, 0, 1}},
      fields
    )
  end

  @doc "Returns the value of a header field of the response, or `nil`."
  @spec header(Plug.Conn.t(), String.t()) :: String.t() | nil
  def header(conn, name), do: conn |> Plug.Conn.get_resp_header(name) |> List.first()

  @doc "Starts OTP's web server, which answers each request with this function of its connection. Returns the URL."
  @spec start!((Plug.Conn.t() -> Plug.Conn.t())) :: String.t()
  def start!(handler) do
    root = String.to_charlist(System.tmp_dir!())

    options = [
      port: 0,
      bind_address: {127, 0, 0, 1},
      server_name: ~c"localhost",
      server_root: root,
      document_root: root,
      modules: [__MODULE__]
    ]

    {:ok, server} = :inets.start(:httpd, options)
    [port: port] = :httpd.info(server, [:port])
    :persistent_term.put({__MODULE__, port}, handler)

    ExUnit.Callbacks.on_exit(fn ->
      :inets.stop(:httpd, server)
      :persistent_term.erase({__MODULE__, port})
    end)

    "http://127.0.0.1:#{port}"
  end

  @doc "Requests a URL, and returns the status and the header fields of the response."
  @spec get!(String.t(), [{String.t(), String.t()}]) ::
          {pos_integer, %{String.t() => String.t()}, binary}
  def get!(url, headers \\ []) do
    headers = for {name, value} <- headers, do: {to_charlist(name), to_charlist(value)}
    request = {to_charlist(url), headers}

    {:ok, {{_, status, _}, headers, body}} =
      :httpc.request(:get, request, [autoredirect: false], body_format: :binary)

    {status, for({name, value} <- headers, into: %{}, do: {to_string(name), to_string(value)}),
     body}
  end

  ## The callback of Plug's adapter

  @doc false
  def send_resp(payload, _status, _headers, body), do: {:ok, IO.iodata_to_binary(body), payload}

  ## The callback of httpd

  @doc false
  def unquote(:do)(request) do
    init_data(peername: {_port, peer}, sockname: {port, _host}) = mod(request, :init_data)
    {:ok, remote_ip} = :inet.parse_address(peer)
    [path | query] = String.split(to_string(mod(request, :request_uri)), "?", parts: 2)

    headers =
      for {name, value} <- mod(request, :parsed_header), do: {to_string(name), to_string(value)}

    conn =
      conn(
        method: to_string(mod(request, :method)),
        request_path: path,
        path_info: String.split(path, "/", trim: true),
        query_string: Enum.join(query),
        req_headers: headers,
        remote_ip: remote_ip
      )

    conn = :persistent_term.get({__MODULE__, port}).(conn)

    fields = for {name, value} <- conn.resp_headers, do: {to_charlist(name), to_charlist(value)}
    length = conn.resp_body |> byte_size() |> Integer.to_charlist()
    head = [{:code, conn.status}, {:content_length, length} | fields]
    {:proceed, [response: {:response, head, conn.resp_body}]}
  end
end
