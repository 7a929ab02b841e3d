defmodule Mix.Tasks.RateLimiter.Replay do
  @shortdoc "Shows what limits would have done to an access log"

  @moduledoc """
  Shows what limits would have done to an access log: which clients they would have denied, when, and which limit would
  have fitted.

      mix rate_limiter.replay access.log.gz --limit 60/min
      mix rate_limiter.replay access.log access.log.1.gz --limit 10/s:burst=20 --limit 1000/h --by ip,path
      zcat app.ndjson.gz | mix rate_limiter.replay --limit 100/min --by user.id --html report.html

  The limiter that serves applications judges every request, at the time that the log gives it. Each limit is judged
  alone. A log has Common or Combined Log Format, one JSON object per line, W3C format, or that of Envoy or an Amazon load
  balancer, plain or gzip. A virtual host before the address, a port, a list of proxies, and the prefix of syslog,
  Docker or Kubernetes are recognised, and reported. Several logs are merged by time. `-` or no file is standard input.
  The guide "Choosing a limit" explains the report.

  ## Limits

  `--limit` is a number per period. Its details follow after colons, in any order:

      60/min                     a token bucket that holds 60 and refills 60 a minute
      10/s:burst=20              a token bucket that holds 20
      100/5min:sliding_window    never more than 100 in any 5 minutes
      10k/day:fixed_window       counted from midnight (UTC); with from_first_use from the first request

  Units are `ms`, `s`, `min`, `h` and `d`. Algorithms are `token_bucket` (also `gcra`, `leaky_bucket`),
  `sliding_window` (also `sub_windows=N`), `sliding_log` and `fixed_window` (also `aligned`, `from_first_use`).

  ## Options

    * `-l`, `--limit LIMIT` - a limit to judge by; required, and may be repeated
    * `-b`, `--by FIELD[,FIELD...]` - the fields that identify a client: `ip` (the default), `user`, `path` (without the
      query), `method`, `status`, `referer`, `agent`, or any field of a JSON line, with dots into nested objects
    * `--cost FIELD` - the field with the cost of a request, such as `bytes`; by default a request costs 1
    * `--format auto|clf|ndjson` - the format of the lines; `auto`, the default, detects it by the first byte of each
    * `--time-field NAME` - the JSON field with the time: ISO 8601, or a number since 1970; by default the first of
      `time`, `timestamp`, `@timestamp`, `ts` and some more
    * `--time-unit s|ms|us|ns` - the unit of such a number; by default its magnitude decides, and a number before 1973 is
      not a time
    * `--id-field NAME` - as `--by`, but always the JSON field of exactly this name
    * `--field FIELD=NAME` - another JSON name of `ip`, `user`, `path`, `method`, `status`, `bytes`, `referer` or `agent`
    * `--reorder SPAN` - how late a line may be and still be put into its place at once; by default 60s. A file with later
      lines, such as one written newest first, is read again and sorted
    * `--target P%` - also find the smallest limit that denies at most P % of the clients; by default 1%; may be repeated
    * `--no-fit` - do not search the smallest limit, and keep no requests in memory for it
    * `--top N` - how many of the clients denied most often to list; by default 10
    * `--json` - print the report as JSON instead of a table
    * `--html FILE` - also write the report as a page with charts, in one file
    * `--progress`, `--no-progress` - print the progress to standard error; by default only to a terminal
    * `-h`, `--help` - print this text

  ## Exit status

    * 0 - the logs were read. Lines that cannot be read are counted, and do not change the status
    * 1 - a log could not be opened, was truncated, or had no line that could be judged; or standard input has lines that
      are later than `--reorder`, so that the figures are wrong
    * 2 - the command line is invalid

  Files of any size need little memory. Standard input is read by the Erlang runtime as fast as it arrives, and waits in
  memory.
  """

  use Mix.Task

  alias RateLimiter.Replay
  alias RateLimiter.Replay.{Arguments, Json, Notes, Page, Progress, Table}
  alias RateLimiter.Terminal.{Screen, Text}

  @requirements ["loadpaths"]

  @impl true
  def run(argv) do
    case Arguments.parse(argv) do
      {:ok, paths, options, output} -> replay(paths, options, output)
      :help -> IO.puts(@moduledoc)
      {:error, message} -> misuse(message)
    end
  end

  defp replay(paths, options, output) do
    progress = Progress.start(output.progress)
    prepared = prepare(Keyword.put(options, :progress, &Progress.update(progress, &1)))

    case Replay.run_prepared(paths, prepared) do
      {:ok, report} ->
        Progress.stop(progress)
        write(report, output)
        finish(report)

      {:error, message} ->
        fail([message], 1)
    end
  end

  # Only an `ArgumentError` of this step is the caller's mistake. Any other is a defect, and shows its trace.
  defp prepare(options) do
    Replay.prepare!(options)
  rescue
    error in ArgumentError -> misuse(error.message)
  end

  defp write(report, output) do
    if output.json,
      do: report |> Json.render() |> IO.puts(),
      else: report |> Table.render(Screen.of_stdout()) |> IO.puts()

    if output.html do
      case File.write(output.html, Page.render(report)) do
        :ok -> IO.puts(:stderr, "The page is in #{output.html}")
        {:error, reason} -> fail(["--html #{output.html}: #{:file.format_error(reason)}"], 1)
      end
    end
  end

  defp finish(report) do
    for {_name, problem} when problem != nil <- report.logs,
        do: IO.puts(:stderr, "mix rate_limiter.replay: #{problem}")

    cond do
      Enum.any?(report.logs, fn {_name, problem} -> problem end) ->
        exit({:shutdown, 1})

      late = Notes.late(report) ->
        fail([late], 1)

      report.input.requests == 0 and report.input.lines > report.input.blank ->
        exit({:shutdown, 1})

      true ->
        :ok
    end
  end

  @spec misuse(String.t()) :: no_return
  defp misuse(message), do: fail([message, "See: mix help rate_limiter.replay"], 2)

  defp fail(messages, status) do
    ["mix rate_limiter.replay: " <> hd(messages) | tl(messages)]
    |> Enum.flat_map(&Text.wrap(&1, Screen.columns()))
    |> Enum.each(&IO.puts(:stderr, &1))

    exit({:shutdown, status})
  end
end
