# Checks that are decided by a Redis of this machine, beside a plain script by EVALSHA, in the same run: redis-benchmark, and a
# bare socket. Also beside Redix and Hammer, if RATE_LIMITER_BENCH_PEERS names a folder with their sources.
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

for file <- ~w(load peer others), do: Code.require_file("support/#{file}.exs", __DIR__)

defmodule Bench.Redis.Check do
  alias Bench.{Figures, Histogram, Keys, Machine, Table}
  alias Bench.Redis.{Load, Others, Peer}
  alias RateLimiter.Support.Redis

  @processes [1, 4, 16, 64, 256, 1_024]
  @redix_processes [1, 4, 16]
  @hammer_processes [1, 16, 256]
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
    others = Others.start(server)

    subjects =
      [:peer, :plain, :ping] ++
        for(
          {name, check, processes} <- loads(others),
          count <- processes,
          do: {name, count, check}
        )

    rounds = for round <- 1..size.rounds, do: round(subjects, server, size, round)
    throughput(rounds)
    latency = latency(size)
    bytes = bytes(server, size)
    targets(rounds, latency, bytes)
    IO.puts("Load average at the end: #{Machine.load()}.\n")
  end

  defp loads(others) do
    processes = %{redix: @redix_processes, hammer: @hammer_processes}

    [
      {:ours, &Load.ours/1, @processes}
      | for({name, check} <- others, do: {name, check, processes[name]})
    ]
  end

  defp introduce(server, size) do
    Machine.print("Redis: checks that nodes share")

    IO.puts("""
    Redis #{Redis.info(server, "redis_version")} on loopback, on the same cores as its callers. #{size.rounds} rounds in turns, #{size.ms} ms each;
    #{Table.count(@keys)} keys, no call denied, every answer a whole %Usage{}. An answer after the deadline of 50 ms is one without Redis: it
    counts as late, not as a check. Beside it `redis-benchmark -c 16 -P 16`, #{Table.count(size.peer)} checks a round with
    one EVALSHA each, of a plain GCRA script; the same script on a bare socket, one after the other; and a bare PING. CPU is the
    time that Redis reports of itself, divided by the checks.
    """)
  end

  ## Checks a second

  # Each round begins with another subject, so that other load on the machine affects all alike.
  defp round(subjects, server, size, round) do
    {head, tail} = Enum.split(subjects, rem(round, length(subjects)))
    Map.new(tail ++ head, &{name(&1), measure(&1, server, size)})
  end

  defp name({name, processes, _check}), do: {name, processes}
  defp name(name), do: name

  defp measure(:ping, server, size), do: %{us: Peer.round_trip_us(server, size.pings)}

  defp measure(:plain, server, size) do
    before = cpu_us(server)
    us = Peer.alone_us(server, Keys.tuple(@keys), size.pings)
    # With the untimed tenth before.
    %{us: us, cpu: (cpu_us(server) - before) / (size.pings + div(size.pings, 10))}
  end

  defp measure(:peer, server, size) do
    before = cpu_us(server)
    rate = Peer.rate(server, @keys, size.peer)
    %{rate: rate, cpu: (cpu_us(server) - before) / size.peer}
  end

  defp measure({_name, processes, check}, server, size) do
    Load.closed(check, processes, @keys, div(size.ms, 4))
    before = {cpu_us(server), calls(server)}
    {checks, alone, us, histogram} = Load.closed(check, processes, @keys, size.ms)
    cpu = cpu_us(server) - elem(before, 0)
    evaluated = calls(server) - elem(before, 1)
    {[p50, p99], _longest} = Histogram.percentiles(histogram, [0.5, 0.99])

    %{
      rate: checks * 1.0e6 / us,
      cpu: cpu / checks,
      together: checks / max(1, evaluated),
      alone: alone,
      us: us * processes / checks,
      p50: p50 / 1_000,
      p99: p99 / 1_000
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
    subjects = for {{_name, _processes} = subject, _figures} <- hd(rounds), do: subject
    order = %{ours: 0, hammer: 1, redix: 2}
    subjects = Enum.sort_by(subjects, fn {name, processes} -> {order[name], processes} end)

    Table.print(
      ["", "a second", "to the peer's", "p50 us", "p99 us", "in one EVALSHA", "CPU us", "late"],
      for(subject <- subjects, do: row(rounds, subject)) ++
        [
          [
            "redis-benchmark -c 16 -P 16",
            rounds |> median(:peer, :rate) |> Table.count(),
            "1.00",
            "",
            "",
            "1.0",
            rounds |> median(:peer, :cpu) |> Table.decimal(2),
            ""
          ],
          alone("the plain script, on a socket", rounds, :plain),
          alone("a bare PING, on a socket", rounds, :ping)
        ]
    )
  end

  defp row(rounds, {name, processes} = subject) do
    [
      "#{title(name)}#{Table.count(processes)} #{if processes == 1, do: "process", else: "processes"}",
      rounds |> median(subject, :rate) |> Table.count(),
      rounds |> ratio(subject, :peer) |> Table.decimal(2),
      rounds |> median(subject, :p50) |> Table.count(),
      rounds |> median(subject, :p99) |> Table.count(),
      if(name == :hammer, do: "", else: rounds |> median(subject, :together) |> Table.decimal()),
      rounds |> median(subject, :cpu) |> Table.decimal(2),
      rounds |> of(subject, :alone) |> Enum.sum() |> Table.count()
    ]
  end

  defp title(:ours), do: ""
  defp title(:redix), do: "Redix, the plain script, "
  defp title(:hammer), do: "Hammer through Redix, fixed window, "

  # The mean, since its calls are not timed one by one.
  defp alone(title, rounds, subject) do
    us = rounds |> median(subject, :us) |> Table.decimal()
    cpu = if subject == :plain, do: rounds |> median(:plain, :cpu) |> Table.decimal(2), else: ""
    [title, "", "", us, "", "", cpu, ""]
  end

  defp median(rounds, subject, field), do: rounds |> of(subject, field) |> Figures.median()

  defp of(rounds, subject, field), do: for(round <- rounds, do: round[subject][field])

  defp ratio(rounds, subject, other, field \\ :rate),
    do: Figures.ratio(of(rounds, subject, field), of(rounds, other, field))

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

    Table.print(
      ["", "must", "is", ""],
      [
        target(
          "256 processes, to redis-benchmark",
          :least,
          1.5,
          ratio(rounds, {:ours, 256}, :peer)
        ),
        target(
          "Redis' CPU of a lone check, to the plain script's",
          :most,
          1.1,
          ratio(rounds, {:ours, 1}, :plain, :cpu)
        ),
        target(
          "Redis' CPU a check at 256, to redis-benchmark's",
          :most,
          0.4,
          ratio(rounds, {:ours, 256}, :peer, :cpu)
        ),
        target("bytes a token bucket", :most, 150, bucket),
        target("bytes a sliding window of 10", :most, 160, window),
        target("p99 at #{Table.count(@per_second)} a second, us", :most, 1_000, p99 / 1_000),
        target(
          "one process, to a bare PING",
          :most,
          1.6,
          ratio(rounds, {:ours, 1}, :ping, :us)
        )
      ] ++
        for {processes, bound} <- [{16, 1.3}, {256, 2.0}],
            is_map_key(hd(rounds), {:hammer, processes}) do
          ratio = ratio(rounds, {:ours, processes}, {:hammer, processes})
          target("#{processes} processes, to Hammer through Redix", :least, bound, ratio)
        end ++
        for {:redix, 1} = redix <- Map.keys(hd(rounds)) do
          target(
            "one process, to the plain script through Redix",
            :most,
            1.0,
            ratio(rounds, {:ours, 1}, redix, :us)
          )
        end
    )
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
