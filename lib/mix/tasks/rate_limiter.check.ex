defmodule Mix.Tasks.RateLimiter.Check do
  @shortdoc "Checks a file of limits, and prints what each window admits"

  @moduledoc """
  Checks a file of limits, and prints what each window admits.

      mix rate_limiter.check limits.json
      mix rate_limiter.check limits.toml --redis
      mix rate_limiter.check limits.toml --against shop@db1 --cookie SECRET

  The file is one that the option `:limits` of an instance takes: JSON, TOML, YAML where the project has `:yaml_elixir`, or
  Elixir. All reasons why it is invalid are printed, each with its path, what is expected and what it has. The columns of a window
  are its limit, what it admits at once, and the most that it admits within any period of its length.

  With `--against`, this joins a running node as a hidden node, as `mix rate_limiter.top` does, and prints what the file would change
  there. It changes nothing. In a release, where there is no Mix, `RateLimiter.Limits.read/1` and
  `RateLimiter.Limits.diff/2` do the same.

  ## Options

    * `--redis` - expects limits that a Redis store can keep
    * `--against NAME` - the running node
    * `--instance NAME` - its instance, by default `RateLimiter`
    * `--cookie COOKIE` - its cookie, by default that of `~/.erlang.cookie`
    * `-h`, `--help` - prints this text

  ## Exit status

    * 0 - the file is valid
    * 1 - the file is invalid, or the node is not reachable
    * 2 - the command line is invalid
  """

  use Mix.Task

  alias RateLimiter.Limits
  alias RateLimiter.Limits.{Change, Report}
  alias RateLimiter.Terminal.CommandLine
  alias RateLimiter.Top.Reader

  @aliases [h: :help]
  @switches [
    redis: :boolean,
    against: :string,
    instance: :string,
    cookie: :string,
    help: :boolean
  ]

  @timeout_ms 30_000

  @impl true
  def run(argv) do
    {given, files, invalid} = OptionParser.parse(argv, strict: @switches, aliases: @aliases)

    with :ok <- CommandLine.check(invalid, @switches, @aliases) do
      case {Map.new(given), files} do
        {%{help: true}, _files} -> IO.puts(@moduledoc)
        {options, [file]} -> check(file, options)
        {_options, files} -> fail("expected one file, got: #{length(files)}", 2)
      end
    else
      {:error, message} -> fail(message, 2)
    end
  end

  defp check(file, options) do
    # YAML is read by a library of the project.
    Mix.Task.run("compile")

    with {:ok, limits} <- Limits.read(file),
         {:ok, steps} <- Change.steps(limits, [], store(options)) do
      steps |> Change.apply([]) |> Report.admits() |> print()
      compare(file, limits, options)
    else
      {:error, reasons} -> invalid(file, reasons)
    end
  end

  defp store(%{redis: true}), do: {:redis, :any}
  defp store(_options), do: :local

  defp compare(file, limits, %{against: name} = options) do
    case Reader.join(name, options[:cookie]) do
      {:ok, node} -> file |> compared(node, limits, instance(options)) |> print()
      {:error, message, status} -> fail(String.replace(message, "--node", "--against"), status)
    end
  end

  defp compare(_file, _limits, _options), do: :ok

  defp compared(file, node, limits, instance) do
    case :erpc.call(node, Limits, :diff, [limits, instance], @timeout_ms) do
      {:ok, diff} -> ["", "on #{node}:" | Report.diff(diff)]
      {:error, reasons} -> invalid(file, reasons)
    end
  rescue
    error in ErlangError -> fail("no reply from #{node}: #{inspect(error.original)}", 1)
    error in ArgumentError -> fail("#{node}: #{Exception.message(error)}", 1)
  end

  defp instance(%{instance: name}), do: Module.concat([name])
  defp instance(_options), do: RateLimiter

  defp print(lines), do: Enum.each(lines, &IO.puts/1)

  @spec invalid(Path.t(), [Limits.reason()]) :: no_return
  defp invalid(file, reasons) do
    for reason <- reasons, do: IO.puts(:stderr, "#{file}: #{reason}")
    exit({:shutdown, 1})
  end

  @spec fail(String.t(), 1 | 2) :: no_return
  defp fail(message, status), do: CommandLine.fail("rate_limiter.check", message, status)
end
