# The lines a second of a replay, end to end: file, lines, order, verdicts, and the search for the smallest
# limit. The log is made here: Combined Log Format, a million and more requests a day, 20,000 clients of which a few
# are heavy, a little out of order.
#
#     MIX_ENV=prod mix run bench/replay.exs [--quick]

defmodule Bench.Replay do
  @clients 20_000
  @start 1_431_857_100
  @agents [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.5.0"
  ]

  def run(lines) do
    log = Path.join(System.tmp_dir!(), "rate_limiter_bench_#{System.pid()}.log")

    try do
      write(log, lines)
      packed = pack(log)
      print_machine(lines, log, packed)

      measure("plain, one limit", log, lines, limits: ["60/min"])
      measure("plain, one limit, no search", log, lines, limits: ["60/min"], fit: false)

      measure("plain, five limits", log, lines,
        limits: ~w(60/min 10/s 600/h 30/min:sliding_window 99/d:fixed_window)
      )

      measure("gzip, one limit", packed, lines, limits: ["60/min"])
    after
      File.rm(log)
      File.rm(log <> ".gz")
    end
  end

  defp measure(name, path, lines, options) do
    :erlang.garbage_collect()
    :erlang.statistics(:runtime)
    {microseconds, {:ok, report}} = :timer.tc(fn -> RateLimiter.Replay.run([path], options) end)
    {_, cpu_ms} = :erlang.statistics(:runtime)
    ^lines = report.input.requests
    seconds = microseconds / 1_000_000

    :io.format("~-28s ~8.2f s ~12s lines/s ~12s lines/s of one core~n", [
      name,
      seconds,
      thousands(lines / seconds),
      thousands(lines * 1_000 / max(cpu_ms, 1))
    ])
  end

  defp print_machine(lines, log, packed) do
    IO.puts(
      "Elixir #{System.version()}, OTP #{System.otp_release()}, #{System.schedulers_online()} schedulers"
    )

    IO.puts(
      "#{thousands(lines)} lines of Combined Log Format, #{@clients} clients, " <>
        "#{div(File.stat!(log).size, 1_000_000)} MB (#{div(File.stat!(packed).size, 1_000_000)} MB as gzip)\n"
    )
  end

  defp write(path, lines) do
    :rand.seed(:exsss, {1, 2, 3})
    agents = List.to_tuple(@agents)

    File.open!(path, [:write, :raw, :binary, :delayed_write], fn file ->
      1..lines
      |> Stream.chunk_every(10_000)
      |> Enum.each(fn numbers -> :file.write(file, Enum.map(numbers, &line(&1, agents))) end)
    end)
  end

  # Some 30 a second, each up to 5 s late; every other one from one of a hundred heavy clients.
  defp line(number, agents) do
    second = @start + div(number, 30) - :rand.uniform(5)
    client = :rand.uniform(if rem(number, 2) == 0, do: 100, else: @clients)

    [
      [
        "10.",
        Integer.to_string(div(client, 65_536)),
        ?.,
        Integer.to_string(client |> div(256) |> rem(256))
      ],
      [
        ?.,
        Integer.to_string(rem(client, 256)),
        " - - [",
        stamp(second),
        ~s( +0000] "GET /articles/)
      ],
      [
        Integer.to_string(rem(number, 977)),
        ~s(?page=2 HTTP/1.1" 200 ),
        Integer.to_string(number)
      ],
      [~s( "https://example.org/articles/" "), elem(agents, rem(client, 3)), ~s("\n)]
    ]
  end

  defp stamp(second) do
    {{year, _month, day}, {h, m, s}} = :calendar.system_time_to_universal_time(second, :second)
    [two(day), "/May/", Integer.to_string(year), ?:, two(h), ?:, two(m), ?:, two(s)]
  end

  defp two(number) when number < 10, do: [?0, ?0 + number]
  defp two(number), do: Integer.to_string(number)

  defp pack(log) do
    {"", 0} = System.cmd("gzip", ["--fast", "--keep", log])
    log <> ".gz"
  end

  defp thousands(number), do: number |> round() |> RateLimiter.Core.Numbers.number()
end

Bench.Replay.run(if "--quick" in System.argv(), do: 50_000, else: 2_000_000)
