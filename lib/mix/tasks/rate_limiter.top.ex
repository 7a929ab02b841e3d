defmodule Mix.Tasks.RateLimiter.Top do
  @shortdoc "Shows limiters and subsystems at work, live"

  @moduledoc """
  Shows what the limiters and subsystems of a node do, live, until it is interrupted.

      mix rate_limiter.top --node shop@db1 --cookie SECRET
      mix rate_limiter.top

  With `--node`, it looks at a running node, which it joins for as long as it runs, hidden; the node must have been started with
  a name (`elixir --sname` or `--name`) and have this library. Without, it starts the application of this project and looks
  at that.

  For each limiter: calls and denials a second, ids kept, windows. For each subsystem: its limit, the scale that is on it, its
  stress, calls a second, calls turned away a second (by the limit, the guard or the gate), how many are at work of how many
  that may be, and in words what its law last said. Then the sensors of that BEAM.

  ## Options

    * `--node NAME` - the node to look at
    * `--cookie COOKIE` - its cookie; without it, that of `~/.erlang.cookie`
    * `--interval SECONDS` - between two looks, 1 without it
    * `--once` - look once, tell the rates of one interval, and end
    * `-h`, `--help` - this text

  The exit status is 1 where the node cannot be reached, and 2 where the command line is wrong.
  """

  use Mix.Task

  alias RateLimiter.Top
  alias RateLimiter.Terminal.{CommandLine, Screen}
  alias RateLimiter.Top.Snapshot

  @aliases [h: :help]
  @switches [node: :string, cookie: :string, interval: :integer, once: :boolean, help: :boolean]

  @impl true
  def run(argv) do
    {options, rest, invalid} = OptionParser.parse(argv, strict: @switches, aliases: @aliases)

    with {:error, message} <- CommandLine.check(invalid, @switches, @aliases),
         do: fail(message, 2)

    if rest != [], do: fail("expected no argument, got: #{hd(rest)}", 2)
    if options[:help], do: IO.puts(@moduledoc), else: show(Map.new(options))
  end

  defp show(%{interval: interval}) when interval < 1,
    do: fail("--interval: expected a positive number of seconds, got: #{interval}", 2)

  defp show(options) do
    look = look(options)
    frames = if options[:once], do: 1, else: :infinity
    Top.watch(Screen.of_stdout(), look, 1_000 * Map.get(options, :interval, 1), frames)
  end

  defp look(%{node: name} = options) do
    node = String.to_atom(name)
    join(name)
    if cookie = options[:cookie], do: Node.set_cookie(node, String.to_atom(cookie))

    unless Node.connect(node) == true,
      do: fail("#{name} cannot be reached: is it up, and is the cookie right?", 1)

    fn -> remote(node) end
  end

  defp look(_options) do
    Mix.Task.run("app.start")
    &Snapshot.take/0
  end

  # A long name has a dot behind its @.
  defp join(name) do
    unless name =~ ~r/^[^@]+@[^@]+$/,
      do: fail("--node: expected a name and a host, such as shop@db1, got: #{name}", 2)

    domain = if name =~ ~r/@.*\./, do: :longnames, else: :shortnames
    own = :"rate_limiter_top_#{System.pid()}@#{own_host(domain, name)}"

    with {:error, reason} <- :net_kernel.start(own, %{name_domain: domain, hidden: true}) do
      unless Node.alive?(),
        do:
          fail(
            "this machine has no Erlang distribution to join #{name} with. Is epmd running? It is started by: epmd -daemon " <>
              "(#{inspect(reason, limit: 5)})",
            1
          )
    end
  end

  # A node on a loopback address is looked at from there.
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
    error in ErlangError -> fail("#{node} does not answer: #{inspect(error.original)}", 1)
  end

  @spec fail(String.t(), 1 | 2) :: no_return
  defp fail(message, status), do: CommandLine.fail("rate_limiter.top", message, status)
end
