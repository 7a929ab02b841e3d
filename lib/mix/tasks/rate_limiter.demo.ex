defmodule Mix.Tasks.RateLimiter.Demo do
  @shortdoc "Shows limits at work, and a replay of a log"

  @moduledoc """
  Shows limits at work: five of them in a storm of calls, and what a limit would have done to a log.

      mix rate_limiter.demo
      mix rate_limiter.demo access.log.gz

  The log is Common or Combined Log Format or JSON lines, plain or gzip; without one it is made up. `NO_COLOR` is
  respected. The exit status is 1 where the log cannot be opened.
  """

  use Mix.Task

  @requirements ["app.start"]

  @impl true
  def run(argv) do
    case argv do
      [] -> show(nil)
      ["-" <> _ | _] -> IO.puts(@moduledoc)
      [path] -> show(path)
      _ -> fail("expected one log at most, got: #{length(argv)}")
    end
  end

  defp show(path) do
    with {:error, message} <- RateLimiter.Demo.run(path), do: fail(message)
  end

  defp fail(message) do
    IO.puts(:stderr, "mix rate_limiter.demo: #{message}")
    exit({:shutdown, 1})
  end
end
