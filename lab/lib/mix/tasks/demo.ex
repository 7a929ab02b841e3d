defmodule Mix.Tasks.Demo do
  @shortdoc "Shows limits at work, and a replay of a log"

  @moduledoc """
  Shows limits at work: five of them in a storm of calls, five that share a database in pain, and what a limit would
  have done to a log.

      mix demo
      mix demo access.log.gz
      mix demo --redis

  The log is Common or Combined Log Format or JSON lines, plain or gzip; without one it is made up. `NO_COLOR` is
  respected. The exit status is 1 where the log cannot be opened, and 2 where the command line is wrong.

  With `--redis` two nodes share a limit through a Redis that is started for it, killed, and started again; the exit
  status is 1 where there is no `redis-server`.
  """

  use Mix.Task

  alias RateLimiter.Terminal.CommandLine

  @requirements ["app.start"]

  @impl true
  def run(argv) do
    case argv do
      [] -> shown(Lab.Demo.run(nil))
      ["--redis"] -> shown(Lab.Demo.run_redis())
      [help] when help in ["-h", "--help"] -> IO.puts(@moduledoc)
      ["-" <> _ = other | _] -> fail("expected a log, --redis or --help, got: #{other}", 2)
      [path] -> shown(Lab.Demo.run(path))
      _ -> fail("expected one log at most, got: #{length(argv)}", 2)
    end
  end

  defp shown(:ok), do: :ok
  defp shown({:error, message}), do: fail(message, 1)

  @spec fail(String.t(), 1 | 2) :: no_return
  defp fail(message, status), do: CommandLine.fail("demo", message, status)
end
