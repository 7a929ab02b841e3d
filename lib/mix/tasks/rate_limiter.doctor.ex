defmodule Mix.Tasks.RateLimiter.Doctor do
  @shortdoc "Checks whether limits hold on this machine and in a Redis"

  @moduledoc """
  Checks whether limits hold on this machine and in a Redis, and prints what to change if they do not.

      mix rate_limiter.doctor
      mix rate_limiter.doctor --url redis://localhost:6379
      mix rate_limiter.doctor --sentinels 10.0.0.1:26379,10.0.0.2:26379 --group mymaster
      mix rate_limiter.doctor --cluster 10.0.0.1:6379,10.0.0.2:6379 --tls --cacertfile ca.pem

  `RateLimiter.Doctor` lists the checks, and runs them in a release, where there is no Mix.

  Without `--url`, `--sentinels` or `--cluster`, the environment names the Redis, as `RateLimiter.Config.from_env/0`
  reads it. The password is that of `--url`, or else the environment variable `REDIS_PASSWORD`, which stays hidden from a
  list of processes. `RateLimiter.Doctor.run/1` takes all options of a store, for example a password of Sentinels.

  ## Options

    * `--url URL` - the Redis: `redis://`, `rediss://` for TLS, `unix:` for a socket
    * `--sentinels ADDRESSES` - the Sentinels that know the primary, as `host:port`, separated by commas
    * `--group NAME` - the name of the primary in the Sentinels, by default `mymaster`
    * `--cluster ADDRESSES` - some nodes of a Cluster, as `host:port`, separated by commas
    * `--username NAME` - the ACL user
    * `--prefix PREFIX` - the prefix of your keys, by default `rate_limiter`. The checks append `:doctor` to it
    * `--tls` - connects over TLS, as `rediss://` does
    * `--cacertfile FILE` - the certificates that sign the server's, if this system does not trust them
    * `--certfile FILE`, `--keyfile FILE` - the certificate of this client and its key, if the server requires one
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
    sentinels: :string,
    group: :string,
    cluster: :string,
    username: :string,
    prefix: :string,
    tls: :boolean,
    cacertfile: :string,
    certfile: :string,
    keyfile: :string,
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
    own = Keyword.take(options, [:prefix, :timeout, :group, :username]) ++ tls(options)

    case {named(options), Config.from_env()[:store]} do
      {[], :local} -> :local
      {[], {:redis, redis}} -> {:redis, redis ++ own}
      {named, _environment} -> {:redis, named ++ own ++ password(options)}
    end
  end

  # The Redis that the command line names.
  defp named(options) do
    addresses = for key <- [:sentinels, :cluster], list = options[key], do: {key, split(list)}
    Keyword.take(options, [:url]) ++ addresses
  end

  defp split(list), do: String.split(list, ",", trim: true)

  defp tls(options) do
    case Keyword.take(options, [:cacertfile, :certfile, :keyfile]) do
      [] -> if options[:tls], do: [ssl: true], else: []
      files -> [ssl: files]
    end
  end

  defp password(options) do
    own? = String.contains?(options[:url] || "", "@")

    if own? or System.get_env("REDIS_PASSWORD", "") == "",
      do: [],
      else: [password: {:system, "REDIS_PASSWORD"}]
  end

  @spec fail(String.t()) :: no_return
  defp fail(message), do: CommandLine.fail("rate_limiter.doctor", message, 2)
end
