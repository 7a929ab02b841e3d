# Checks that are decided by a Redis of this machine, beside redis-benchmark with one EVALSHA a check, in the same run.
#
#     MIX_ENV=prod mix run bench/redis/check.exs [--quick]

for file <- ~w(machine table figures histogram keys) do
  Code.require_file("../support/#{file}.exs", __DIR__)
end

# These files refer to each other, so they are compiled together.
{:ok, _modules, _warnings} =
  ~w(eventually.ex program.ex redis.ex redis/*.ex)
  |> Enum.flat_map(&Path.wildcard(Path.expand("../../test/support/#{&1}", __DIR__)))
  |> Kernel.ParallelCompiler.compile()

for file <- ~w(load peer), do: Code.require_file("support/#{file}.exs", __DIR__)

defmodule Bench.Redis.Check do
  alias Bench.{Figures, Histogram, Keys, Machine, Table}
  alias Bench.Redis.{Load, Peer}
  alias RateLimiter.Support.Redis

  @processes [1, 16, 64, 256, 1_024]
  @keys 10_000
  @full %{
    rounds: 5,
    ms: 2_000,
    peer: 400_000,
    pings: 20_000,
    latency_ms: 10_000,
    bytes: 31_250,
    part_ms: 2_000
  }
  @quick %{
    rounds: 1,
    ms: 200,
    peer: 20_000,
    pings: 500,
    latency_ms: 300,
    bytes: 2_000,
    part_ms: 100
  }
  @per_second 10_000
  @shares [0.5, 0.99, 0.999]

  def run(size) do
    size = if size == :quick, do: @quick, else: @full
    # The slow log would count as memory of the keys.
    server = Redis.start!(config: ["slowlog-log-slower-than": -1])
    Load.start(url: Redis.url(server))
    Redis.ready!(:redis_bench, :each)
    introduce(server, size)
    Load.fill(:redis_bench, Tuple.to_list(Keys.tuple(@keys)), :each)

    rounds = for round <- 1..size.rounds, do: round(server, size, round)
    throughput(rounds)
    latency = latency(size)
    bytes = bytes(server, size)
    targets(rounds, latency, bytes)
    IO.puts("Load average at the end: #{Machine.load()}.\n")
  end

  defp introduce(server, size) do
    Machine.print("Redis: checks that nodes share")

    IO.puts("""
    Redis #{Redis.info(server, "redis_version")} on loopback, on the same cores as its callers. #{size.rounds} rounds in turns, #{size.ms} ms each;
    #{Table.count(@keys)} keys, no call denied, every answer a whole %Usage{}. An answer after the deadline of 50 ms is one without Redis: it
    counts as late, not as a check. Beside it `redis-benchmark -c 16 -P 16`, #{Table.count(size.peer)} checks a round with
    one EVALSHA each, of a plain GCRA script. CPU is the time that Redis reports of itself, divided by the checks.
    """)
  end

  ## Checks a second

  # Each round begins with another subject, so that other load on the machine affects all alike.
  defp round(server, size, round) do
    subjects = [:peer, :ping | @processes]
    {head, tail} = Enum.split(subjects, rem(round, length(subjects)))
    Map.new(tail ++ head, &{&1, measure(&1, server, size)})
  end

  defp measure(:ping, server, size), do: %{us: Peer.round_trip_us(server, size.pings)}

  defp measure(:peer, server, size) do
    before = cpu_us(server)
    rate = Peer.rate(server, @keys, size.peer)
    %{rate: rate, cpu: (cpu_us(server) - before) / size.peer}
  end

  defp measure(processes, server, size) do
    Load.closed(processes, @keys, div(size.ms, 4))
    before = {cpu_us(server), calls(server)}
    {checks, alone, us} = Load.closed(processes, @keys, size.ms)
    cpu = cpu_us(server) - elem(before, 0)
    evaluated = calls(server) - elem(before, 1)

    %{
      rate: checks * 1.0e6 / us,
      cpu: cpu / checks,
      together: checks / max(1, evaluated),
      alone: alone,
      us: us * processes / checks
    }
  end

  defp cpu_us(server) do
    for(mode <- ~w(user sys), do: String.to_float(Redis.info(server, "used_cpu_#{mode}")))
    |> Enum.sum()
    |> Kernel.*(1_000_000)
  end

  defp calls(server) do
    [_line, calls] =
      Regex.run(~r/calls=(\d+)/, Redis.info(server, "cmdstat_evalsha") || "calls=0")

    String.to_integer(calls)
  rescue
    MatchError -> 0
  end

  defp throughput(rounds) do
    IO.puts("### Checks a second\n")

    rows =
      for processes <- @processes do
        [
          "#{Table.count(processes)} #{if processes == 1, do: "process", else: "processes"}",
          rounds |> of(processes, :rate) |> Figures.median() |> Table.count(),
          ratio(rounds, processes) |> Table.decimal(2),
          rounds |> of(processes, :us) |> Figures.median() |> Table.count(),
          rounds |> of(processes, :together) |> Figures.median() |> Table.decimal(),
          rounds |> of(processes, :cpu) |> Figures.median() |> Table.decimal(2),
          rounds |> of(processes, :alone) |> Enum.sum() |> Table.count()
        ]
      end

    peer = [
      "redis-benchmark -c 16 -P 16",
      rounds |> of(:peer, :rate) |> Figures.median() |> Table.count(),
      "1.00",
      "",
      "1.0",
      rounds |> of(:peer, :cpu) |> Figures.median() |> Table.decimal(2),
      ""
    ]

    ping = [
      "a bare PING through gen_tcp",
      "",
      "",
      rounds |> of(:ping, :us) |> Figures.median() |> Table.decimal(),
      "",
      "",
      ""
    ]

    Table.print(
      ["", "a second", "to the peer's", "us a check", "in one EVALSHA", "Redis' CPU us", "late"],
      rows ++ [peer, ping]
    )
  end

  defp of(rounds, subject, field), do: for(round <- rounds, do: round[subject][field])

  defp ratio(rounds, subject),
    do: Figures.ratio(of(rounds, subject, :rate), of(rounds, :peer, :rate))

  ## Latency

  defp latency(size) do
    IO.puts("### Latency at #{Table.count(@per_second)} checks a second\n")

    figures =
      for processes <- [16, 256] do
        histogram = Load.open(@per_second, processes, @keys, size.latency_ms)
        {processes, Histogram.percentiles(histogram, @shares)}
      end

    Table.print(
      ["us, from call to answer", "p50", "p99", "p99.9", "max"],
      for {processes, {percentiles, longest}} <- figures do
        [
          "#{processes} processes"
          | for(ns <- percentiles ++ [longest], do: Table.count(ns / 1_000))
        ]
      end
    )

    Map.new(figures)
  end

  ## Bytes

  defp bytes(server, size) do
    IO.puts("### Bytes a key of 22 characters\n")
    Load.start_short([url: Redis.url(server)], size.part_ms)
    Redis.ready!(:t, :w)
    ids = for number <- 1..size.bytes, do: "key-#{10_000_000 + number}"
    # A first run, so that memory which the calls take once is not counted for the keys.
    Load.fill(:t, ids, :w)

    rows = [
      bytes("token bucket", server, ids, fn -> Load.fill(:t, ids, :w) end),
      bytes("sliding window of 10, used in each", server, ids, fn ->
        for _part <- 1..10 do
          Load.fill(:s, ids, :w)
          Load.wait_for_next(size.part_ms)
        end
      end)
    ]

    Table.print(
      ["", "used_memory", "MEMORY USAGE"],
      for([name | bytes] <- rows, do: [name | Enum.map(bytes, &Table.decimal/1)])
    )

    rows
  end

  # The growth of the server for each key, and its own figure for one of them. A key is 22 characters long.
  defp bytes(name, server, ids, fill) do
    Redis.command!(server, ["FLUSHALL"])
    before = memory(server)
    fill.()
    [_cursor, [key | _]] = Redis.command!(server, ["SCAN", 0, "MATCH", "b:{?:key-*"])
    22 = byte_size(key)

    [
      name,
      (memory(server) - before) / length(ids),
      Redis.command!(server, ["MEMORY", "USAGE", key])
    ]
  end

  defp memory(server), do: server |> Redis.info("used_memory") |> String.to_integer()

  ## Targets

  defp targets(rounds, latency, [[_, bucket, _], [_, window, _]]) do
    IO.puts("### Targets\n")
    {[_p50, p99, _p999], _max} = latency[256]
    cpu = Figures.ratio(of(rounds, 256, :cpu), of(rounds, :peer, :cpu))

    Table.print(["", "must", "is", ""], [
      target("256 processes, to redis-benchmark", :least, 1.5, ratio(rounds, 256)),
      target("Redis' CPU a check at 256, to redis-benchmark's", :most, 0.5, cpu),
      target("bytes a token bucket", :most, 150, bucket),
      target("bytes a sliding window of 10", :most, 160, window),
      target("p99 at #{Table.count(@per_second)} a second, us", :most, 1_000, p99 / 1_000),
      target(
        "one process, to a bare PING",
        :most,
        2.0,
        Figures.ratio(of(rounds, 1, :us), of(rounds, :ping, :us))
      )
    ])
  end

  defp target(name, :least, bound, is),
    do: [
      name,
      "at least #{bound}",
      Table.decimal(is, 2),
      if(is >= bound, do: "met", else: "MISSED")
    ]

  defp target(name, :most, bound, is),
    do: [
      name,
      "at most #{bound}",
      Table.decimal(is, 2),
      if(is <= bound, do: "met", else: "MISSED")
    ]
end

case System.argv() do
  [] -> Bench.Redis.Check.run(:full)
  ["--quick"] -> Bench.Redis.Check.run(:quick)
end
