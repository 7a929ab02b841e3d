defmodule RateLimiter.Dashboard.Server do
  @moduledoc false
  # A small HTTP server on the loopback interface, for a page that no web application serves: one request a connection.

  use GenServer

  alias RateLimiter.Dashboard.Response

  # Browsers open connections that they may never use, so there are more than pages.
  @acceptors 32
  @header_lines 100
  @line_bytes 8_192
  @recv_ms 5_000
  @hosts ["localhost", "127.0.0.1", "[::1]"]

  @typedoc "As the source of a response, with a function that returns the names."
  @type source :: {(String.t() | nil -> term), (... -> [String.t()])}

  @doc "Listens on a port of the loopback interface."
  @spec start_link({:inet.port_number(), source}) :: GenServer.on_start()
  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @doc "Returns the port."
  @spec port(pid) :: :inet.port_number()
  def port(server), do: GenServer.call(server, :port)

  @impl true
  def init({port, source}) do
    options = [
      :binary,
      ip: {127, 0, 0, 1},
      packet: :http_bin,
      packet_size: @line_bytes,
      active: false,
      reuseaddr: true,
      backlog: 128,
      send_timeout: @recv_ms
    ]

    with {:ok, socket} <- :gen_tcp.listen(port, options) do
      for _ <- 1..@acceptors, do: spawn_link(fn -> accept(socket, source) end)
      {:ok, socket}
    else
      {:error, reason} -> {:stop, reason}
    end
  end

  @impl true
  def handle_call(:port, _from, socket) do
    {:ok, port} = :inet.port(socket)
    {:reply, port, socket}
  end

  defp accept(listener, source) do
    case :gen_tcp.accept(listener) do
      {:ok, socket} ->
        serve(socket, source)
        :gen_tcp.close(socket)
        accept(listener, source)

      {:error, :closed} ->
        :ok

      # No file descriptor is free, or the client is gone already.
      {:error, _reason} ->
        Process.sleep(100)
        accept(listener, source)
    end
  end

  defp serve(socket, source) do
    with {:ok, {:http_request, method, target, _version}} <- :gen_tcp.recv(socket, 0, @recv_ms),
         {:ok, host} <- host(socket, nil, @header_lines) do
      {path, query} = split(target)
      reply(socket, "#{method}", respond("#{method}", path, query, host, source))
    else
      {:ok, _no_request} -> reply(socket, "GET", {400, [], "bad request\n"})
      {:error, _closed_or_late} -> :ok
    end
  end

  # A page from elsewhere can let its own name point to this address. A browser then still sends that name.
  defp respond(_method, _path, _query, host, _source) when host not in @hosts,
    do: {403, [{"content-type", "text/plain"}], "expected localhost as the host\n"}

  defp respond(method, path, query, _host, {view, nodes}),
    do: Response.to(method, path, query, {view, nodes.()})

  defp host(_socket, _host, 0), do: {:ok, :too_many_headers}

  defp host(socket, host, lines) do
    case :gen_tcp.recv(socket, 0, @recv_ms) do
      {:ok, :http_eoh} -> {:ok, host}
      {:ok, {:http_header, _, :Host, _, value}} -> host(socket, name(value), lines - 1)
      {:ok, {:http_header, _, _name, _, _value}} -> host(socket, host, lines - 1)
      other -> other
    end
  end

  # Without the port, which differs behind a tunnel.
  defp name(host), do: host |> String.replace(~r/:\d+\z/, "") |> String.downcase()

  defp split({:abs_path, target}) do
    case String.split(target, "?", parts: 2) do
      [path] -> {segments(path), ""}
      [path, query] -> {segments(path), query}
    end
  end

  # A proxy, or `*`.
  defp split(_other), do: {[""], ""}

  defp segments(path), do: String.split(path, "/", trim: true)

  defp reply(socket, method, {status, headers, body}) do
    headers = [
      {"content-length", Integer.to_string(IO.iodata_length(body))},
      {"connection", "close"} | headers
    ]

    head = for {name, value} <- headers, do: [name, ": ", value, "\r\n"]
    body = if method == "HEAD", do: "", else: body
    :gen_tcp.send(socket, ["HTTP/1.1 #{status} \r\n", head, "\r\n", body])
  end
end
