defmodule Bench.Redis.Peer do
  @moduledoc false
  # `redis-benchmark` with one EVALSHA a check: written in C, builds no answer from the reply, keeps 256 checks in flight.

  alias RateLimiter.Support.Redis

  @script Path.expand("../gcra.lua", __DIR__)
  @interval_us 60_000_000
  @burst 1_000_000

  @doc "Returns the checks a second over this number of keys."
  @spec rate(Redis.Server.t(), pos_integer, pos_integer) :: float
  def rate(server, keys, checks) do
    sha = Redis.command!(server, ["SCRIPT", "LOAD", File.read!(@script)])

    arguments = ~w(-h 127.0.0.1 -p #{server.port} -c 16 -P 16 -n #{checks} -r #{keys} --csv
         EVALSHA #{sha} 1 bench:__rand_int__ #{@interval_us} #{@burst})

    {output, 0} = System.cmd("redis-benchmark", arguments)
    # "test","rps",... and the figures in the next row, in quotes.
    line = output |> String.split("\n", trim: true) |> List.last()

    [_test, rate | _rest] =
      Regex.scan(~r/"([^"]*)"/, line, capture: :all_but_first) |> List.flatten() |> Enum.take(-8)

    String.to_float(rate)
  end

  @doc "Returns the microseconds of a bare round trip: PINGs on a socket, one after the other."
  @spec round_trip_us(Redis.Server.t(), pos_integer) :: float
  def round_trip_us(server, count) do
    {:ok, socket} =
      :gen_tcp.connect({127, 0, 0, 1}, server.port, [:binary, active: false, nodelay: true])

    ping(socket, div(count, 10))
    {us, :ok} = :timer.tc(fn -> ping(socket, count) end)
    :gen_tcp.close(socket)
    us / count
  end

  defp ping(_socket, 0), do: :ok

  defp ping(socket, count) do
    :ok = :gen_tcp.send(socket, "PING\r\n")
    {:ok, "+PONG\r\n"} = :gen_tcp.recv(socket, 7)
    ping(socket, count - 1)
  end
end
