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
  alias RateLimiter.Top.Snapshot

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
    node = String.to_atom(name)
    join(name)
    if cookie = options[:cookie], do: Node.set_cookie(node, String.to_atom(cookie))

    unless Node.connect(node) == true,
      do: fail("cannot connect to #{name}: check that it runs, and the cookie", 1)

    fn -> remote(node) end
  end

  defp reader(_options) do
    Mix.Task.run("app.start")
    &Snapshot.take/0
  end

  # A host with a dot makes a long name.
  defp join(name) do
    unless name =~ ~r/^[^@]+@[^@]+$/,
      do: fail("--node: expected a name and a host, such as shop@db1, got: #{name}", 2)

    domain = if name =~ ~r/@.*\./, do: :longnames, else: :shortnames
    own = :"rate_limiter_top_#{System.pid()}@#{own_host(domain, name)}"

    with {:error, reason} <- :net_kernel.start(own, %{name_domain: domain, hidden: true}) do
      unless Node.alive?(),
        do:
          fail(
            "cannot join #{name}, because Erlang distribution does not start on this machine. Is epmd running? Start " <>
              "it by: epmd -daemon (#{inspect(reason, limit: 5)})",
            1
          )
    end
  end

  # A node on a loopback address only accepts connections from there.
  defp own_host(:longnames, name), do: name |> String.split("@") |> List.last() |> loopback()

  defp own_host(:shortnames, _name) do
    {:ok, host} = :inet.gethostname()
    host
  end

  defp loopback("127." <> _ = host), do: host

  defp loopback(_remote) do
    {:ok, host} = :inet.gethostname()
    {:ok, {:hostent, full, _, _, _, _}} = :inet.gethostbyname(host)
    full
  end

  defp remote(node) do
    :erpc.call(node, Snapshot, :take, [], 5_000)
  rescue
    error in ErlangError -> fail("no reply from #{node}: #{inspect(error.original)}", 1)
  end

  @spec fail(String.t(), 1 | 2) :: no_return
  defp fail(message, status), do: CommandLine.fail("rate_limiter.top", message, status)
end
