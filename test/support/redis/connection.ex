defmodule RateLimiter.Support.Redis.Connection do
  @moduledoc false
  # As much of a Redis client as tests need to look into a server and to break it: one command, one reply.
  #
  # Through the server's socket in the file system: it takes no port, and is there whatever the limiter's own way is.

  @type reply :: {:ok, term} | {:error, String.t()}
  @type t :: :gen_tcp.socket()

  @doc "Opens a connection, as this user where there is one."
  @spec open(Path.t(), {String.t(), String.t()} | nil, timeout) :: {:ok, t} | {:error, term}
  def open(path, user, timeout) do
    options = [:binary, active: false, packet: :line, buffer: 65_536]

    with {:ok, socket} <- :gen_tcp.connect({:local, path}, 0, options, timeout),
         {:ok, _reply} <- log_in(socket, user, timeout) do
      {:ok, socket}
    end
  end

  @doc "Sends a command and waits for its reply. An error of the server is one in here, too."
  @spec ask(t, [String.t() | integer], timeout) :: reply | {:error, :timeout | :closed}
  def ask(socket, command, timeout) do
    with :ok <- :gen_tcp.send(socket, encode(command)), do: read(socket, timeout)
  end

  @spec close(t) :: :ok
  def close(socket), do: :gen_tcp.close(socket)

  defp log_in(_socket, nil, _timeout), do: {:ok, nil}

  defp log_in(socket, {name, password}, timeout),
    do: ask(socket, ["AUTH", name, password], timeout)

  defp encode(command) do
    words = Enum.map(command, &to_string/1)
    ["*#{length(words)}\r\n" | for(word <- words, do: ["$#{byte_size(word)}\r\n", word, "\r\n"])]
  end

  defp read(socket, timeout) do
    with {:ok, line} <- :gen_tcp.recv(socket, 0, timeout) do
      line |> String.trim_trailing("\r\n") |> decode(socket, timeout)
    end
  end

  defp decode("+" <> text, _socket, _timeout), do: {:ok, text}
  defp decode("-" <> message, _socket, _timeout), do: {:error, message}
  defp decode(":" <> number, _socket, _timeout), do: {:ok, String.to_integer(number)}
  defp decode("$-1", _socket, _timeout), do: {:ok, nil}
  defp decode("*-1", _socket, _timeout), do: {:ok, nil}

  defp decode("$" <> size, socket, timeout) do
    size = String.to_integer(size)
    :ok = :inet.setopts(socket, packet: :raw)
    answer = :gen_tcp.recv(socket, size + 2, timeout)
    :ok = :inet.setopts(socket, packet: :line)
    with {:ok, bytes} <- answer, do: {:ok, binary_part(bytes, 0, size)}
  end

  # An error inside of an array stays in its place.
  defp decode("*" <> count, socket, timeout) do
    elements =
      for _element <- 1..String.to_integer(count)//1 do
        with {:ok, element} <- read(socket, timeout), do: element
      end

    {:ok, elements}
  end
end
