defmodule RateLimiter.Replay do
  @moduledoc """
  Tells what limits would have done to a log: who would have been denied, when, and which limit would have fitted.

  `mix rate_limiter.replay` is this module for people. Here it is for programs:

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

  ## What it does

  Every request is judged by the limiter that serves applications, at the time that the log gives it, on a clock that
  shows the log's time. Each limit is judged alone, as if it were the only one.

  **Order.** Servers log a request when it ends, so logs are a little out of order. A request is put into its place if
  it comes at most `:reorder_ms` behind the latest time of its log; requests of the same time stay in the log's order.
  What comes later still is counted as late, and judged when it comes: the clock does not go back for it, and nothing
  is minted. Several logs are merged by time, so a cluster's logs can be replayed together, and rotated ones in any
  order.

  **Lines.** Common Log Format, Combined Log Format and one JSON object a line, plain or gzip, told apart by their first
  bytes. A line that cannot be read is counted, and the first few are kept to be shown. A line that says nothing of who
  is asking (`by: ["user"]` where nobody is logged in) is counted apart, and not judged.

  **The smallest limit** that never denies an id is found by trying: each id's requests are judged again, alone, under
  one limit after the other, by the arithmetic that serves applications. The burst follows the limit that is tried: it
  is the limit, or stays in the proportion to it in which it was stated, rounded up. Sub-windows stay as they are.
  Where an id that was never denied under a limit is not denied under any higher one, halving finds the smallest; that
  holds for every algorithm, but for token buckets of more than 10,000 a second, whose rates are rounded by up to
  0.001 %: there it finds one that fits while the next smaller does not.

  **Memory.** For each id its text (at most about 280 bytes a field) and about 50 bytes, and about 100 more for each
  limit; the requests of the reorder span; and, unless `fit: false`, 12 bytes a request, 20 with `:cost`, twice that
  while the search begins. A file is never read whole, nor is a line longer than 1 MiB. Standard input is the exception:
  the Erlang runtime reads it as fast as it comes, and what is not judged yet waits in memory.

  ## Options

  #{RateLimiter.Replay.Settings.docs()}
  """

  alias RateLimiter.Core.Limit
  alias RateLimiter.Replay.{Engine, Report, Settings, Source, Verdict}

  @doc """
  Replays logs and returns `{:ok, report}`.

  `paths` are files, or `"-"` for standard input. Options are above; wrong ones raise `ArgumentError`.

  Lines that cannot be read are no error, nor is a log that holds nothing, nor one that breaks off: the report has them.
  `{:error, message}` is returned where a log cannot be opened; then nothing was replayed.
  """
  @spec run([String.t(), ...], keyword) :: {:ok, Report.t()} | {:error, String.t()}
  def run(paths, options), do: run_prepared(paths, prepare!(options))

  @doc false
  # All that options can be wrong about comes to light here, before a log is opened.
  @spec prepare!(keyword) :: {Settings.t(), Engine.t()}
  def prepare!(options) do
    settings = Settings.new!(options)
    {settings, Engine.new!(settings)}
  end

  @doc false
  @spec run_prepared([String.t(), ...], {Settings.t(), Engine.t()}) ::
          {:ok, Report.t()} | {:error, String.t()}
  def run_prepared(paths, {settings, engine}) do
    with {:ok, sources} <- open(paths, []) do
      try do
        problems = Engine.feed(engine, sources, settings.progress)
        {:ok, Report.new(engine, settings, Enum.zip(paths, problems))}
      after
        Enum.each(sources, &Source.close/1)
      end
    end
  end

  @doc """
  The smallest limit like the one judged that would have denied at most this share of the ids, in parts per million.

  Returns `{:ok, limit}`, whose `:limit` and `:burst` are the ones found; `:none` where no limit of this algorithm is
  high enough; `:unknown` where that share was not among the report's `:shares_ppm`, or nothing was judged.
  """
  @spec smallest(Verdict.t(), non_neg_integer) :: {:ok, Limit.t()} | :none | :unknown
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
