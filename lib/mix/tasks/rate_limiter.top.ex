defmodule Mix.Tasks.RateLimiter.Top do
  @shortdoc "Shows limiters and subsystems at work, live"

  @moduledoc """
  Shows what the limiters and subsystems of a node do, live, in the size of the terminal. The arrow keys scroll, and `q`
  quits.

      mix rate_limiter.top --node shop@db1 --cookie SECRET
      mix rate_limiter.top

  With `--node`, this joins a running node as a hidden node. The running node must have been started with a name
  (`elixir --sname` or `--name`) and must have this library. Without `--node`, this starts the application of the current
  project and shows that. `RateLimiter.Top.print/1` prints one picture in a release, where there is no Mix.

  Live, `calls/s` and `denied/s` of an instance are also shown for the last minute, the newest at the right.

  The columns of a limiter are calls and denials per second, ids in memory, and windows; the most denied come first. Those of a subsystem are:

    * `limit` - its configured limit
    * `scale` - the factor on it
    * `stress` - 0 to 1, as its control law sees it
    * `calls/s`, `denied/s` - calls, and calls denied by the limit or the guard
    * `shed/s` - calls denied by the gate of the node
    * `at work` - calls in flight, of how many the guard admits

  Below a subsystem stands the last sentence of its control law. The last line has the sensors of the node.

  ## Options

    * `--node NAME` - the node to show
    * `--cookie COOKIE` - its cookie, by default that of `~/.erlang.cookie`
    * `--interval SECONDS` - the time between two pictures, by default 1
    * `--once` - prints one picture with the rates of one interval, and ends
    * `-h`, `--help` - prints this text

  ## Exit status

    * 0 - after `q`, with `--once`, or when the reader of the output is gone
    * 1 - the node is not reachable
    * 2 - the command line is invalid
  """

  use Mix.Task

  alias RateLimiter.Terminal.{CommandLine, Screen}
  alias RateLimiter.Top
  alias RateLimiter.Top.{Reader, Snapshot}

  @aliases [h: :help]
  @switches [node: :string, cookie: :string, interval: :integer, once: :boolean, help: :boolean]

  @impl true
  def run(argv) do
    case CommandLine.options(argv, @switches, @aliases) do
      {:ok, options} -> show(Map.new(options))
      :help -> IO.puts(@moduledoc)
      {:error, message} -> fail(message, 2)
    end
  end

  defp show(%{interval: interval}) when interval < 1,
    do: fail("--interval: expected a positive number of seconds, got: #{interval}", 2)

  defp show(options) do
    read = reader(options)
    frames = if options[:once], do: 1, else: :infinity
    Top.watch(Screen.of_stdout(), read, 1_000 * Map.get(options, :interval, 1), frames)
  end

  defp reader(%{node: name} = options) do
    case Reader.join(name, options[:cookie]) do
      {:ok, node} -> fn -> remote(node) end
      {:error, message, status} -> fail(message, status)
    end
  end

  defp reader(_options) do
    Mix.Task.run("app.start")
    &Snapshot.take/0
  end

  defp remote(node) do
    with {:error, problem} <- Reader.read(node), do: fail(problem, 1)
  end

  @spec fail(String.t(), 1 | 2) :: no_return
  defp fail(message, status), do: CommandLine.fail("rate_limiter.top", message, status)
end
