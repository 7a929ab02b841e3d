defmodule Mix.Tasks.RateLimiter.Replay do
  @shortdoc "Tells what limits would have done to a log"

  @moduledoc """
  Tells what limits would have done to a log: who would have been denied, when, and which limit would have fitted.

      mix rate_limiter.replay access.log.gz --limit 60/min
      mix rate_limiter.replay access.log access.log.1.gz --limit 10/s:burst=20 --limit 1000/h --by ip,path
      zcat app.ndjson.gz | mix rate_limiter.replay --limit 100/min --by user.id --html report.html

  Every request is judged by the limiter that serves applications, at the time that the log gives it. Each limit is
  judged alone. Logs are files in Common or Combined Log Format or with a JSON object a line, plain or gzip; several
  are merged by time. `-` or no file is standard input.

  ## Limits

  `--limit` is how much in how long, and behind colons, in any order, how it is counted:

      60/min                     a token bucket that refills 60 a minute and holds 60
      10/s:burst=20              one that holds 20
      100/5min:sliding_window    never more than 100 in any 5 minutes
      10k/day:fixed_window       counted from midnight (UTC); with from_first_use from the first request

  Units are `ms`, `s`, `min`, `h` and `d`. Algorithms are `token_bucket` (also `gcra`, `leaky_bucket`),
  `sliding_window` (also `sub_windows=N`), `sliding_log` and `fixed_window` (also `aligned`, `from_first_use`).

  ## Options

    * `-l`, `--limit LIMIT` - a limit to judge by; as often as wanted, at least once
    * `-b`, `--by FIELD[,FIELD...]` - who is asking: `ip` (the default), `user`, `path` (without the query), `method`,
      `status`, `referer`, `agent`, or any field of a JSON line, with dots into nested objects; several together are
      one id
    * `--cost FIELD` - what a request costs, such as `bytes`; without it, 1
    * `--format auto|clf|ndjson` - how lines are written; `auto` tells by each line's first byte
    * `--time-field NAME` - the JSON field with the time: ISO 8601, or a number since 1970; without it the first of
      `time`, `timestamp`, `@timestamp`, `ts` and some more
    * `--time-unit s|ms|us|ns` - what such a number counts; without it its magnitude tells
    * `--id-field NAME` - as `--by`, but always the JSON field of that very name
    * `--field WORD=NAME` - the JSON name of `ip`, `user`, `path`, `method`, `status`, `bytes`, `referer` or `agent`,
      where the usual ones do not fit
    * `--reorder SPAN` - how late a line may come and still be put into its place; 60s without it
    * `--target P%` - also find the smallest limit that denies at most P % of the ids; 1% without it
    * `--no-fit` - do not look for the smallest limit, and keep no requests in memory for it
    * `--top N` - how many of the ids denied most often to name; 10 without it
    * `--json` - the report as JSON instead of a table
    * `--html FILE` - also write it as a page with plots, in one file
    * `--progress`, `--no-progress` - tell on standard error how far it is; without these, on a terminal only
    * `-h`, `--help` - this text

  The exit status is 0 if all was read; 1 if a log could not be opened or broke off, or if not one of its lines could be
  judged; 2 if the command line is wrong. Lines that cannot be read are counted, and change nothing of it.

  Standard input is read by the Erlang runtime as fast as it comes, and waits in memory; files of any size are not.
  """

  use Mix.Task

  alias RateLimiter.Replay
  alias RateLimiter.Replay.{Arguments, Json, Page, Progress, Table}
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

  # Only here is an `ArgumentError` the command line's fault; what else raises is a defect, and shows its trace.
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
