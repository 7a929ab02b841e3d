defmodule RateLimiter.Support.WebSocket do
  @moduledoc false
  # A client of RFC 6455, as far as the tests need it: text frames of less than 64 kB, none of them in parts.

  import Bitwise

  @timeout_ms 10_000

  @doc "Opens a socket, or returns the response of the server that refused it: status, header fields and body."
  def connect(port, path, headers \\ []) do
    {:ok, socket} =
      :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, packet: :http_bin])

    fields = for {name, value} <- headers, do: [name, ": ", value, "\r\n"]

    :ok =
      :gen_tcp.send(socket, [
        [
          "GET ",
          path,
          " HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        ],
        ["sec-websocket-version: 13\r\nsec-websocket-key: ", Base.encode64(<<0::128>>), "\r\n"],
        [fields, "\r\n"]
      ])

    {:ok, {:http_response, _version, status, _reason}} = :gen_tcp.recv(socket, 0, @timeout_ms)
    headers = headers(socket, %{})
    :ok = :inet.setopts(socket, packet: :raw)

    if status == 101 do
      {:ok, socket}
    else
      length = String.to_integer(headers["content-length"])
      body = if length > 0, do: elem(:gen_tcp.recv(socket, length, @timeout_ms), 1), else: ""
      :ok = :gen_tcp.close(socket)
      {:refused, status, headers, body}
    end
  end

  @doc "Sends a text, and returns the next one from the server."
  def ask(socket, text) do
    :ok = :gen_tcp.send(socket, frame(text))
    {:ok, <<1::1, 0::3, 1::4, 0::1, length::7>>} = :gen_tcp.recv(socket, 2, @timeout_ms)
    {:ok, reply} = :gen_tcp.recv(socket, length(socket, length), @timeout_ms)
    reply
  end

  defp headers(socket, found) do
    case :gen_tcp.recv(socket, 0, @timeout_ms) do
      {:ok, {:http_header, _, name, _, value}} ->
        headers(socket, Map.put(found, name |> to_string() |> String.downcase(), value))

      {:ok, :http_eoh} ->
        found
    end
  end

  # A client masks what it sends.
  defp frame(text) do
    mask = :crypto.strong_rand_bytes(4)
    keys = Stream.cycle(:binary.bin_to_list(mask))
    masked = for {byte, key} <- Enum.zip(:binary.bin_to_list(text), keys), do: bxor(byte, key)
    size = byte_size(text)
    length = if size < 126, do: <<size::7>>, else: <<126::7, size::16>>
    [<<1::1, 0::3, 1::4, 1::1, length::bitstring>>, mask, masked]
  end

  defp length(socket, 126) do
    {:ok, <<length::16>>} = :gen_tcp.recv(socket, 2, @timeout_ms)
    length
  end

  defp length(_socket, length), do: length
end
