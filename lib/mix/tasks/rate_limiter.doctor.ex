defmodule Mix.Tasks.RateLimiter.Doctor do
  @shortdoc "Looks whether limits hold here, and in your Redis"

  @moduledoc """
  Looks whether limits hold on this machine and in the Redis that is named, and says what to change where they do not.

      mix rate_limiter.doctor
      mix rate_limiter.doctor --url redis://localhost:6379

  On this machine: that the native library is there, admits exactly what a limit says to processes that ask at once, and
  how long a check takes. In Redis: that it is reached, which it is, whether it forgets keys when it is full, that its user
  may run what is needed, that its script admits exactly what a limit says, and how long a round trip takes.

  Without `--url`, the environment names the Redis, as `RateLimiter.Config.from_env/0` reads it: so it is not seen by who
  lists processes. It writes a few keys under `rate_limiter:doctor`, which end by themselves, and none of any limit's.

  ## Options

    * `--url URL` - the Redis: `redis://`, `rediss://` for TLS, `unix:` for a socket
    * `--prefix PREFIX` - the prefix of your keys, if it is not `rate_limiter`; `:doctor` is added to it
    * `--cacertfile FILE` - who signed the certificate of the server, if it is nobody whom this system knows
    * `--timeout MS` - the deadline of a call, 50 without it
    * `-h`, `--help` - this text

  The exit status is 1 where something fails, and 2 where the command line or the environment is wrong. What is only
  warned of changes no status.
  """

  use Mix.Task

  alias RateLimiter.{Config, Doctor}
  alias RateLimiter.Terminal.{CommandLine, Screen}

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
      {:ok, options} -> examine(options)
      :help -> IO.puts(@moduledoc)
      {:error, message} -> CommandLine.fail("rate_limiter.doctor", message, 2)
    end
  end

  defp examine(options) do
    {:ok, _started} = Application.ensure_all_started(:rate_limiter)
    store = checked(options)
    screen = Screen.of_stdout()
    IO.puts("")
    worst = Doctor.examine(store, &(&1 |> Doctor.lines(screen) |> IO.puts()))
    if worst == :failure, do: exit({:shutdown, 1})
  end

  defp checked(options) do
    store = store(options)
    _valid = Config.store!(store, [:store])
    store
  rescue
    error in ArgumentError -> CommandLine.fail("rate_limiter.doctor", Exception.message(error), 2)
  end

  defp store(options) do
    own = Keyword.take(options, [:prefix, :timeout])
    tls = if file = options[:cacertfile], do: [ssl: [cacertfile: file]], else: []

    case {options[:url], Config.from_env()} do
      {nil, [store: :local]} -> :local
      {nil, [store: {:redis, redis}]} -> {:redis, redis ++ own ++ tls}
      {url, _environment} -> {:redis, [url: url] ++ own ++ tls}
    end
  end
end
