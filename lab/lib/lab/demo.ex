defmodule Lab.Demo do
  @moduledoc false
  # The demo: five subsystem limits in a storm of calls and in pain, and a replay of a log. Or two nodes that share a limit
  # through Redis.

  alias RateLimiter.Replay
  alias Guides.AccessLog
  alias Lab.Demo.{Pain, Shared, Storm}
  alias RateLimiter.Replay.{Source, Table}
  alias RateLimiter.Core.LimitText
  alias RateLimiter.Terminal.Screen

  @doc "Shows storm, pain and replay. `path` is the log to replay; without one, the demo writes its own."
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

  # Checked before the storm, so that a wrong name is reported at once.
  defp readable(nil), do: :ok
  defp readable(path), do: with({:ok, source} <- Source.open(path), do: Source.close(source))

  defp replay(nil, screen) do
    path = Path.join(System.tmp_dir!(), "rate_limiter_demo_#{System.pid()}.log.gz")

    try do
      AccessLog.write!(path)
      title(screen, "A replay: what would 60 a minute have done to a shop's day?")

      IO.puts(
        "The log is made up: shoppers, two search engines, a scraper at night, a\nforgotten poller. For your own: bin/demo access.log"
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
        "60 a minute denies no client. #{text} is the smallest limit that denies at most\n1 % of clients:"
      )

      Replay.run([path], limits: [text], top: 5)
    else
      {:shown, report} -> {:ok, report}
      {:error, message} -> {:error, message}
    end
  end

  # A limit that denies something, since a report without denials shows little.
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
        a limit of your own, as a page with charts
    mix help rate_limiter.replay
        other fields, JSON lines, several limits at once
    guides/replay.md
        how to choose a limit from a log
    iex -S mix
        then: h RateLimiter
    """)
  end

  @doc "Prints a heading."
  @spec title(Screen.t(), String.t()) :: :ok
  def title(screen, text), do: IO.puts(["\n", Screen.style(screen, :bold, text), "\n"])
end
