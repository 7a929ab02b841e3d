defmodule Bench.Redis.Peer do
  @moduledoc false
  # `redis-benchmark` with one EVALSHA a check: written in C, builds no answer from the reply, keeps 256 checks in flight.
  # And bare sockets, one request after the other: the same EVALSHA, and PING.

  alias RateLimiter.Support.Redis

  @script Path.expand("../gcra.lua", __DIR__)
  @interval_us 60_000_000
  @burst 1_000_000

  @doc "Returns the checks a second over this number of keys."
  @spec rate(Redis.Server.t(), pos_integer, pos_integer) :: float
  def rate(server, keys, checks) do
    arguments = ~w(-h 127.0.0.1 -p #{server.port} -c 16 -P 16 -n #{checks} -r #{keys} --csv
         #{Enum.join(command(sha(server), "bench:__rand_int__"), " ")})

    {output, 0} = System.cmd("redis-benchmark", arguments)
    # "test","rps",... and the figures in the next row, in quotes.
    line = output |> String.split("\n", trim: true) |> List.last()

    [_test, rate | _rest] =
      Regex.scan(~r/"([^"]*)"/, line, capture: :all_but_first) |> List.flatten() |> Enum.take(-8)

    String.to_float(rate)
  end

  @doc "Loads the plain script. Returns its name."
  @spec sha(Redis.Server.t()) :: String.t()
  def sha(server), do: Redis.command!(server, ["SCRIPT", "LOAD", File.read!(@script)])

  @doc "Returns a check by the plain script."
  @spec command(String.t(), String.t()) :: [String.t()]
  def command(sha, key), do: ["EVALSHA", sha, "1", key, "#{@interval_us}", "#{@burst}"]

  @doc "Returns the microseconds of a check by the plain script on a socket, one after the other."
  @spec alone_us(Redis.Server.t(), tuple, pos_integer) :: float
  def alone_us(server, keys, count) do
    sha = sha(server)

    requests =
      for key <- Tuple.to_list(keys) do
        words = command(sha, "bench:" <> key)
        ["*#{length(words)}\r\n" | for(word <- words, do: "$#{byte_size(word)}\r\n#{word}\r\n")]
      end

    over_socket(server, Stream.cycle(requests), count)
  end

  @doc "Returns the microseconds of a bare round trip: PINGs on a socket, one after the other."
  @spec round_trip_us(Redis.Server.t(), pos_integer) :: float
  def round_trip_us(server, count), do: over_socket(server, Stream.cycle(["PING\r\n"]), count)

  defp over_socket(server, requests, count) do
    {:ok, socket} =
      :gen_tcp.connect({127, 0, 0, 1}, server.port, [:binary, active: false, nodelay: true])

    requests = Enum.take(requests, count)
    requests |> Enum.take(div(count, 10)) |> Enum.each(&round_trip(socket, &1))
    {us, :ok} = :timer.tc(fn -> Enum.each(requests, &round_trip(socket, &1)) end)
    :gen_tcp.close(socket)
    us / count
  end

  # A reply comes in one piece.
  defp round_trip(socket, request) do
    :ok = :gen_tcp.send(socket, request)
    {:ok, <<first, _rest::binary>>} = :gen_tcp.recv(socket, 0)
    true = first in ~c"+*"
  end
end
