defmodule RateLimiter.Dashboard.ServerTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Dashboard.Server

  setup do
    source = {fn _node -> {:error, "nothing to see"} end, fn -> [] end}
    server = start_supervised!({Server, {0, source}})
    %{port: Server.port(server), server: server}
  end

  defp ask(port, request) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    _sent_or_closed = :gen_tcp.send(socket, request)
    all(socket, "")
  end

  defp all(socket, before) do
    case :gen_tcp.recv(socket, 0, 30_000) do
      {:ok, bytes} -> all(socket, before <> bytes)
      {:error, _closed} -> before
    end
  end

  test "a request is answered once, and the connection is closed", %{port: port} do
    reply = ask(port, "GET /?a=b HTTP/1.1\r\nHost: localhost:#{port}\r\n\r\n")
    assert [head, body] = String.split(reply, "\r\n\r\n", parts: 2)
    assert ["HTTP/1.1 502 " | headers] = String.split(head, "\r\n")
    assert "connection: close" in headers
    assert "content-length: #{byte_size(body)}" in headers
    assert body =~ "nothing to see"
  end

  test "HEAD has the headers of GET, and no body", %{port: port} do
    reply = ask(port, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert reply =~ ~r/content-length: [1-9]/
    assert String.ends_with?(reply, "\r\n\r\n")
  end

  test "another method, path or host is refused", %{port: port} do
    for {line, host, status} <- [
          {"POST /", "localhost", 405},
          {"BREW /", "localhost", 405},
          {"GET /other", "localhost", 404},
          {"GET *", "localhost", 404},
          {"GET http://localhost/", "localhost", 404},
          {"GET /", "127.0.0.1:1", 502},
          {"GET /", "[::1]", 502},
          {"GET /", "LocalHost:80", 502},
          {"GET /", "rebound.example", 403},
          {"GET /", "localhost.rebound.example", 403},
          {"GET /", "", 403}
        ] do
      reply = ask(port, "#{line} HTTP/1.1\r\nHost: #{host}\r\n\r\n")
      assert String.starts_with?(reply, "HTTP/1.1 #{status} "), "#{line}, #{host}: #{reply}"
    end

    assert "HTTP/1.1 403 " <> _ = ask(port, "GET / HTTP/1.0\r\n\r\n")
  end

  test "bytes that are no request do no harm", %{port: port, server: server} do
    for bytes <- [
          "\r\n\r\n",
          "\0\xFF\r\n\r\n",
          "GET / HTTP/1.1\r\nno header\r\n\r\n",
          "GET /#{String.duplicate("a", 100_000)} HTTP/1.1\r\n\r\n",
          "GET / HTTP/1.1\r\n#{String.duplicate("a: b\r\n", 1_000)}\r\n",
          "HTTP/1.1 200 OK\r\n\r\n"
        ] do
      assert ask(port, bytes) =~ ~r/\A(HTTP\/1.1 4\d\d |\z)/
    end

    assert ask(port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") =~ "nothing to see"
    assert Process.alive?(server)
  end

  test "connections that send nothing do not stop others", %{port: port} do
    idle =
      for _ <- 1..20 do
        {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
        socket
      end

    assert ask(port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") =~ "nothing to see"
    Enum.each(idle, &:gen_tcp.close/1)
  end
end
