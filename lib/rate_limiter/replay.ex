defmodule RateLimiter.Replay do
  @moduledoc """
  A replay of an access log: which requests a limit would have denied, when, and which limit would have fitted.

  `mix rate_limiter.replay` prints its report. From Elixir:

      iex> path = Path.join(System.tmp_dir!(), "replay_doctest.log")
      iex> File.write!(path, \"""
      ...> 10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 512
      ...> 10.0.0.1 - - [17/May/2015:10:05:13 +0000] "GET /b HTTP/1.1" 200 512
      ...> 10.0.0.2 - - [17/May/2015:10:05:14 +0000] "GET /a HTTP/1.1" 200 512
      ...> \""")
      iex> {:ok, report} = RateLimiter.Replay.run([path], limits: ["1/min"])
      iex> [verdict] = report.verdicts
      iex> {verdict.admitted, verdict.denied, verdict.ids_denied}
      {2, 1, 1}
      iex> [%{id: ["10.0.0.1"], denied: 1, longest_wait_ns: 50_000_000_000}] = verdict.top
      iex> {:ok, best} = RateLimiter.Replay.smallest(verdict, 0)
      iex> best.limit
      2

  ## How it works

  The limiter that serves applications judges every request at the time that the log gives it, on a clock that shows the
  time of the log. Each limit is judged alone, as if it were the only one.

  **Order.** Servers log a request when it ends, so logs are slightly out of order. A request is put into its place if
  it is at most `:reorder_ms` behind the latest time of its log. Requests of the same time stay in the order of the log.
  A file with a request that is later still, such as a log written newest first, is read again and sorted by time, and
  the report's `:sorted` is true. Standard input cannot be read again: there a later request is counted in `:late` and
  judged on arrival, and the figures are wrong; the clock does not go back for it, so it creates no extra budget. A file
  that is named twice is read once. Several logs are merged by time, so the logs of a cluster can be replayed together, and rotated
  logs in any order.

  **Lines.** Common Log Format, Combined Log Format, one JSON object per line, W3C format (IIS, CloudFront), and the
  formats of Envoy and of Amazon's load balancers, plain or gzip, detected line by line; also behind the prefix of syslog,
  Docker Compose or Kubernetes, and inside the JSON object of a collector. The field `ip` is the client's address: behind
  a virtual host, without its port, the first of a list. The report counts what was removed. A line that cannot be read is counted, and the report keeps the first few. A line without an id (`by: ["user"]`
  of an anonymous request) is counted apart, and not judged.

  **The smallest limit** that never denies an id is found by trial: the requests of each id are judged again, alone, under
  one limit after the other, by the arithmetic that serves applications. The burst follows the limit that is tried: it
  equals the limit, or keeps the stated proportion to it, rounded up. Sub-windows stay as they are. If an id that one
  limit never denies is not denied by any higher one, bisection finds the smallest. That holds for every algorithm except
  token buckets of more than 10,000 per second, whose rates are rounded by up to 0.001 %: there the result fits, and the
  next smaller limit does not.

  **Memory.** For each id its text (at most about 280 bytes a field), about 50 bytes, and about 100 more for each limit;
  40 bytes for each request of the reorder span, or for every request of a file that is sorted; and, unless `fit: false`, 12 bytes a request, 20 with `:cost`, twice that while the
  search begins. A file is never read whole, nor is a line longer than 1 MiB. Standard input is the exception: the Erlang
  runtime reads it as fast as it arrives, and unjudged input waits in memory.

  ## Options

  #{RateLimiter.Replay.Settings.docs()}
  """

  alias RateLimiter.Replay.{Engine, Report, Settings, Source, Verdict}

  @doc """
  Replays logs and returns `{:ok, report}`.

  `paths` are files, or `"-"` for standard input. The options are listed above; invalid ones raise `ArgumentError`.

  Lines that cannot be read, an empty log and a truncated log are not errors: the report lists them. Returns
  `{:error, message}` if a log cannot be opened; no log is replayed then.
  """
  @spec run([String.t(), ...], keyword) :: {:ok, Report.t()} | {:error, String.t()}
  def run(paths, options), do: run_prepared(paths, prepare!(options))

  @doc false
  # Raises for every invalid option, before a log is opened.
  @spec prepare!(keyword) :: {Settings.t(), Engine.t()}
  def prepare!(options) do
    settings = Settings.new!(options)
    {settings, Engine.new!(settings)}
  end

  @doc false
  @spec run_prepared([String.t(), ...], {Settings.t(), Engine.t()}) ::
          {:ok, Report.t()} | {:error, String.t()}
  def run_prepared(paths, {settings, engine}) do
    files = Enum.uniq_by(paths, &Source.identity/1)
    in_order? = Enum.all?(files, &File.regular?/1)

    with {:ok, problems} <- feed(engine, files, settings, in_order?) do
      {engine, problems, sorted?} = sorted(engine, problems, files, settings)
      report = Report.new(engine, settings, Enum.zip(files, problems))
      {:ok, %{report | sorted: sorted?, repeated: Enum.uniq(paths -- files)}}
    end
  end

  # A file that is not in order of time is read once more.
  defp sorted(_engine, :late, files, settings) do
    engine = Engine.new!(settings, true)
    {:ok, problems} = feed(engine, files, settings, false)
    {engine, problems, true}
  end

  defp sorted(engine, problems, _files, _settings), do: {engine, problems, false}

  defp feed(engine, files, settings, in_order?) do
    with {:ok, sources} <- open(files, []) do
      try do
        {:ok, Engine.feed(engine, sources, settings.progress, in_order?)}
      after
        Enum.each(sources, &Source.close/1)
      end
    end
  end

  @doc """
  Returns the smallest limit of the judged kind that would have denied at most this share of the ids, in parts per million.

  Returns `{:ok, limit}` with the `:limit` and `:burst` found, `:none` if no limit of this algorithm is high enough, and
  `:unknown` if that share is not among the `:shares_ppm` of the replay, or no request was judged.
  """
  @spec smallest(Verdict.t(), non_neg_integer) :: {:ok, RateLimiter.limit()} | :none | :unknown
  def smallest(%Verdict{smallest: smallest}, share_ppm) do
    case List.keyfind(smallest, share_ppm, 0) do
      nil -> :unknown
      {_share, nil} -> :none
      {_share, limit} -> {:ok, limit}
    end
  end

  defp open([], sources), do: {:ok, Enum.reverse(sources)}

  defp open([path | paths], sources) do
    case Source.open(path) do
      {:ok, source} ->
        open(paths, [source | sources])

      {:error, message} ->
        Enum.each(sources, &Source.close/1)
        {:error, message}
    end
  end
end
