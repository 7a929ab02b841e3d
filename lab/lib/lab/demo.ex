defmodule Lab.Demo do
  @moduledoc false
  # What there is to see in a minute: the five subsystem limits in a storm, then in pain, and a replay of a log. And two
  # nodes that share a limit through Redis, where that is asked for.

  alias RateLimiter.Replay
  alias Guides.AccessLog
  alias Lab.Demo.{Pain, Shared, Storm}
  alias RateLimiter.Replay.{Source, Table}
  alias RateLimiter.Terminal.{LimitText, Screen}

  @doc "Shows it all; `path` is a log to replay, without one it is made here."
  @spec run(String.t() | nil) :: :ok | {:error, String.t()}
  def run(path) do
    screen = Screen.of_stdout()

    with :ok <- readable(path),
         :ok <- Storm.show(screen),
         :ok <- Pain.show(screen),
         {:ok, report} <- replay(path, screen) do
      report |> Table.render(screen) |> IO.puts()
      next(path || "FILE", screen)
    end
  end

  @doc "Shows two nodes that share a limit, and lose their Redis."
  @spec run_redis() :: :ok | {:error, String.t()}
  def run_redis, do: Shared.show(Screen.of_stdout())

  # Before the storm, so that a wrong name is told at once.
  defp readable(nil), do: :ok
  defp readable(path), do: with({:ok, source} <- Source.open(path), do: Source.close(source))

  defp replay(nil, screen) do
    path = Path.join(System.tmp_dir!(), "rate_limiter_demo_#{System.pid()}.log.gz")

    try do
      AccessLog.write!(path)
      title(screen, "A replay: what would 60 a minute have done to a shop's day?")

      IO.puts(
        "The log was made for this: shoppers, two search engines, a scraper at night,\na forgotten poller. Yours: bin/demo access.log"
      )

      Replay.run([path], limits: ["60/min"], top: 5)
    after
      File.rm(path)
    end
  end

  defp replay(path, screen) do
    title(screen, "A replay: what would a limit have done to this log?")

    with {:ok, report} <- Replay.run([path], limits: ["60/min"], top: 5),
         {:ok, limit} <- tighter(report) do
      text = LimitText.format(limit)

      IO.puts(
        "60 a minute would have denied nobody. #{text} is the smallest limit that denies at\nmost 1 % of ids:"
      )

      Replay.run([path], limits: [text], top: 5)
    else
      {:shown, report} -> {:ok, report}
      {:error, message} -> {:error, message}
    end
  end

  # A picture of nothing shows nothing; the report itself where there is no better one.
  defp tighter(%{verdicts: [verdict]} = report) do
    with true <- verdict.denied == 0,
         {:ok, %{limit: limit} = found} when limit < 60 <- Replay.smallest(verdict, 10_000) do
      {:ok, found}
    else
      _ -> {:shown, report}
    end
  end

  defp next(path, screen) do
    title(screen, "What to try next")
    command = &"mix rate_limiter.replay #{&1} --limit 30/min --html report.html"
    path = if String.length(command.(path)) > Screen.columns(), do: "FILE", else: path

    IO.puts("""
    #{command.(path)}
        a limit of your own, as a page with plots
    mix help rate_limiter.replay
        other fields, JSON lines, several limits at once
    guides/replay.md
        how to choose a limit from a log in ten minutes
    iex -S mix
        and there:  h RateLimiter
    """)
  end

  @doc "A heading."
  @spec title(Screen.t(), String.t()) :: :ok
  def title(screen, text), do: IO.puts(["\n", Screen.style(screen, :bold, text), "\n"])
end
