defmodule Mix.Tasks.Demo do
  @shortdoc "Shows limits at work, and a replay of a log"

  @moduledoc """
  Shows limits at work: five subsystems in a storm of calls, five that share an overloaded database, and the effect that a
  limit would have had on a log.

      mix demo
      mix demo access.log.gz
      mix demo --redis

  The log has Common or Combined Log Format or JSON lines, plain or gzip. Without one, the demo makes one up. Respects
  `NO_COLOR`.

  With `--redis`, two nodes share a limit through a Redis that the demo starts, kills, and starts again.

  ## Exit status

    * 0 - done
    * 1 - the log cannot be opened, or there is no `redis-server`
    * 2 - the command line is invalid
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
      _ -> fail("expected at most one log, got: #{length(argv)}", 2)
    end
  end

  defp shown(:ok), do: :ok
  defp shown({:error, message}), do: fail(message, 1)

  @spec fail(String.t(), 1 | 2) :: no_return
  defp fail(message, status), do: CommandLine.fail("demo", message, status)
end
