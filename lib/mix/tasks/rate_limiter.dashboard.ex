defmodule Mix.Tasks.RateLimiter.Dashboard do
  @shortdoc "Serves a live page of limiters and subsystems"

  @moduledoc """
  Serves the page of `RateLimiter.Dashboard` for a node, on the loopback interface, until it is stopped.

      mix rate_limiter.dashboard --node shop@db1 --cookie SECRET
      mix rate_limiter.dashboard --port 4020

  With `--node`, this joins a running node as a hidden node, as `mix rate_limiter.top` does. Without it, this starts the
  application of the current project and shows that.

  ## Options

    * `--node NAME` - the node to show
    * `--cookie COOKIE` - its cookie, by default that of `~/.erlang.cookie`
    * `--port PORT` - the port on the loopback interface, by default 4010, and with 0 any that is free
    * `-h`, `--help` - prints this text

  ## Exit status

    * 1 - the node is not reachable, or the port is in use
    * 2 - the command line is invalid
  """

  use Mix.Task

  alias RateLimiter.Dashboard.{History, Nodes, Server}
  alias RateLimiter.Terminal.CommandLine
  alias RateLimiter.Top.Reader

  @aliases [h: :help]
  @switches [node: :string, cookie: :string, port: :integer, help: :boolean]
  @port 4010

  @impl true
  def run(argv) do
    case CommandLine.options(argv, @switches, @aliases) do
      {:ok, options} -> serve(Map.new(options))
      :help -> IO.puts(@moduledoc)
      {:error, message} -> fail(message, 2)
    end
  end

  # Serves until the task is stopped.
  @spec serve(map) :: no_return
  defp serve(%{port: port}) when port not in 0..65_535,
    do: fail("--port: expected a port from 0 to 65535, got: #{port}", 2)

  defp serve(options) do
    port = Map.get(options, :port, @port)

    source = source(options)
    # So that a port that is in use, or the end of the server, is an error in words.
    Process.flag(:trap_exit, true)

    case Server.start_link({port, source}) do
      {:ok, server} -> wait(server)
      {:error, :eaddrinuse} -> fail("port #{port} is in use: choose another one by --port", 1)
      {:error, reason} -> fail("port #{port}: #{:inet.format_error(reason)}", 1)
    end
  end

  @spec wait(pid) :: no_return
  defp wait(server) do
    IO.puts("http://127.0.0.1:#{Server.port(server)}")
    receive do: ({:EXIT, _from, reason} -> fail("the server has stopped: #{inspect(reason)}", 1))
  end

  defp source(%{node: name} = options) do
    case Reader.join(name, options[:cookie]) do
      {:ok, node} ->
        {:ok, history} = History.start_link(read: fn -> Reader.read(node) end)
        {fn _node -> History.view(history) end, fn -> [] end}

      {:error, message, status} ->
        fail(message, status)
    end
  end

  defp source(_options) do
    Mix.Task.run("app.start")
    {&Nodes.view/1, &Nodes.names/0}
  end

  @spec fail(String.t(), 1 | 2) :: no_return
  defp fail(message, status), do: CommandLine.fail("rate_limiter.dashboard", message, status)
end
