defmodule RateLimiter.Doctor do
  @moduledoc """
  Checks of a node and of its Redis: whether limits hold there, and what to change if they do not.

  `mix rate_limiter.doctor` runs them from a terminal. A release has no Mix; there:

      bin/my_app rpc 'RateLimiter.Doctor.run()'
      bin/my_app rpc 'RateLimiter.Doctor.run(store: {:redis, url: "redis://redis:6379"})'
      bin/my_app eval 'RateLimiter.Doctor.run() == :failure && System.halt(1)'

  `rpc` runs in the running node. `eval` starts a VM of its own on the same machine, with the same environment, and works
  before the application does: in a deployment, as a step that fails.

  ## What is checked

  On this node:

    * the native library is loaded
    * a limit of 1,000 admits exactly 1,000 of 2,000 calls that eight processes make at the same time
    * how long a check takes
    * with `rpc`, each instance of the running node: its health, and how many nodes share its limits

  In Redis, if one is configured:

    * it is reachable: one server, a primary that Sentinels know, or a Cluster, with TLS and its certificates
    * its version is supported
    * it does not evict keys when its memory is full
    * it is no replica, and its replicas are not behind
    * its clock agrees with that of this node
    * its user may run each command that calls, heartbeats and the agreement of subsystems need
    * a limit of 10 admits exactly 10 of 20 calls, in a Cluster on each server
    * the deadline of a call is at least two round trips
    * nodes can count each other
    * how long a check takes
    * subsystems of several nodes can agree on their scales

  The checks use an instance of their own and a few keys below the prefix `rate_limiter:doctor`. The keys expire by
  themselves. No key of another limiter is read or written.
  """

  alias RateLimiter.{Config, Instance}
  alias RateLimiter.Doctor.{Local, Running, Shared}
  alias RateLimiter.Terminal.{Screen, Text}

  @typedoc false
  @type finding ::
          {level, about :: String.t(), result :: String.t(), advice :: String.t() | nil}

  @typedoc "`:failure` breaks limits. A `:warning` may, or concerns a part that not every application uses."
  @type level :: :ok | :warning | :failure

  @level_columns 9
  @about_columns 14
  @styles [ok: :green, warning: :yellow, failure: :red]

  @doc """
  Runs all checks, prints each result, and returns the worst level.

  Starts the application `:rate_limiter` if necessary. Takes up to a minute if Redis does not reply.

  ## Options

    * `:store` - the store to check, as `RateLimiter.start_link/1` takes it. Without it, the environment names the Redis,
      as `RateLimiter.Config.from_env/0` reads it.

  Raises `ArgumentError` if the options or the environment are invalid.
  """
  @spec run(keyword) :: level
  def run(options \\ []) do
    options = Keyword.validate!(options, [:store])
    store = Keyword.get_lazy(options, :store, fn -> Config.from_env()[:store] end)
    _valid = Instance.Config.store!(store, [:store])
    {:ok, _started} = Application.ensure_all_started(:rate_limiter)
    screen = Screen.of_stdout()
    IO.puts("")

    [&Local.check/0, &Running.check/0, fn -> Shared.check(store) end]
    |> Enum.flat_map(fn check -> check.() |> tap(&(&1 |> lines(screen) |> IO.puts())) end)
    |> worst()
  end

  @doc false
  @spec worst([finding]) :: level
  def worst(findings) do
    levels = for {level, _about, _result, _advice} <- findings, do: level
    Enum.find([:failure, :warning], :ok, &(&1 in levels))
  end

  @doc false
  @spec lines([finding], Screen.t()) :: IO.chardata()
  def lines(findings, screen), do: Enum.map(findings, &line(&1, screen))

  defp line({level, about, result, advice}, screen) do
    indent = "\n" <> String.duplicate(" ", 2 + @level_columns + @about_columns)
    columns = Screen.columns() - String.length(indent) + 1
    arrow = if screen.unicode, do: "→", else: "->"
    advice = if advice, do: ["#{arrow} #{advice}"], else: []
    text = Enum.flat_map([result | advice], &Text.wrap(&1, columns))

    [
      "  ",
      Screen.style(screen, @styles[level], String.pad_trailing("#{level}", @level_columns)),
      String.pad_trailing(about, @about_columns),
      Enum.intersperse(text, indent),
      "\n"
    ]
  end
end
