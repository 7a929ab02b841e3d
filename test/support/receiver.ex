defmodule RateLimiter.Support.Receiver do
  @moduledoc "An HTTP server that passes each request on to the test, which says how it is answered."

  import ExUnit.Callbacks

  @doc "Starts a receiver, and returns its port."
  @spec start!(keyword) :: :inet.port_number()
  def start!(options \\ []) do
    test = self()
    id = make_ref()
    start_supervised!({Task, fn -> listen(options[:port] || 0, test, id) end}, id: id)
    receive(do: ({:listening, ^id, port} -> port))
  end

  # The process that listens owns the socket, which ends with it.
  defp listen(port, test, id) do
    options = [:binary, packet: :http_bin, active: false, reuseaddr: true, ip: {127, 0, 0, 1}]
    {:ok, listener} = :gen_tcp.listen(port, options)
    {:ok, port} = :inet.port(listener)
    send(test, {:listening, id, port})
    accept(listener, test)
  end

  defp accept(listener, test) do
    {:ok, socket} = :gen_tcp.accept(listener)
    pid = spawn_link(fn -> receive(do: (:go -> serve(socket, test))) end)
    :ok = :gen_tcp.controlling_process(socket, pid)
    send(pid, :go)
    accept(listener, test)
  end

  defp serve(socket, test) do
    with {:ok, {:http_request, method, {:abs_path, path}, _version}} <- :gen_tcp.recv(socket, 0),
         headers when is_map(headers) <- headers(socket, %{}) do
      :ok = :inet.setopts(socket, packet: :raw)
      {:ok, body} = :gen_tcp.recv(socket, String.to_integer(headers["content-length"]))
      send(test, {:request, self(), {method, path, headers, body}})

      receive do
        {:answer, status, fields} ->
          fields = for {name, value} <- fields, do: "#{name}: #{value}\r\n"

          :gen_tcp.send(socket, [
            "HTTP/1.1 #{status} word\r\n",
            fields,
            "content-length: 0\r\n\r\n"
          ])

          :ok = :inet.setopts(socket, packet: :http_bin)
          serve(socket, test)

        :close ->
          :gen_tcp.close(socket)
      end
    end
  end

  defp headers(socket, headers) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, {:http_header, _, name, _, value}} ->
        headers(socket, Map.put(headers, name |> to_string() |> String.downcase(), value))

      {:ok, :http_eoh} ->
        headers

      closed ->
        closed
    end
  end
end
