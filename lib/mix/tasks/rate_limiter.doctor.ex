defmodule Mix.Tasks.RateLimiter.Doctor do
  @shortdoc "Checks whether limits hold on this machine and in a Redis"

  @moduledoc """
  Checks whether limits hold on this machine and in a Redis, and prints what to change if they do not.

      mix rate_limiter.doctor
      mix rate_limiter.doctor --url redis://localhost:6379

  `RateLimiter.Doctor` lists the checks, and runs them in a release, where there is no Mix.

  Without `--url`, the environment names the Redis, as `RateLimiter.Config.from_env/0` reads it. A password in the
  environment stays hidden from a list of processes, one in `--url` does not.

  ## Options

    * `--url URL` - the Redis: `redis://`, `rediss://` for TLS, `unix:` for a socket
    * `--prefix PREFIX` - the prefix of your keys, by default `rate_limiter`. The checks append `:doctor` to it
    * `--cacertfile FILE` - the certificates that sign the server's, if this system does not trust them
    * `--timeout MS` - the deadline of a call, by default 50
    * `-h`, `--help` - prints this text

  ## Exit status

    * 0 - no failure; there may be warnings
    * 1 - a check failed
    * 2 - the command line or the environment is invalid
  """

  use Mix.Task

  alias RateLimiter.{Config, Doctor, Instance}
  alias RateLimiter.Terminal.CommandLine

  @aliases [h: :help]
  @switches [
    url: :string,
    prefix: :string,
    cacertfile: :string,
    timeout: :integer,
    help: :boolean
  ]

  @impl true
  def run(argv) do
    case CommandLine.options(argv, @switches, @aliases) do
      {:ok, options} -> check(options)
      :help -> IO.puts(@moduledoc)
      {:error, message} -> fail(message)
    end
  end

  defp check(options) do
    if Doctor.run(store: store!(options)) == :failure, do: exit({:shutdown, 1})
  end

  # Only an `ArgumentError` of this step is the caller's mistake.
  defp store!(options) do
    store = store(options)
    _valid = Instance.Config.store!(store, [:store])
    store
  rescue
    error in ArgumentError -> fail(Exception.message(error))
  end

  defp store(options) do
    own = Keyword.take(options, [:prefix, :timeout])
    tls = if file = options[:cacertfile], do: [ssl: [cacertfile: file]], else: []

    case {options[:url], Config.from_env()[:store]} do
      {nil, :local} -> :local
      {nil, {:redis, redis}} -> {:redis, redis ++ own ++ tls}
      {url, _environment} -> {:redis, [url: url] ++ own ++ tls}
    end
  end

  @spec fail(String.t()) :: no_return
  defp fail(message), do: CommandLine.fail("rate_limiter.doctor", message, 2)
end
