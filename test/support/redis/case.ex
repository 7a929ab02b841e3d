defmodule RateLimiter.Support.Redis.Case do
  @moduledoc false
  # Tests of an instance with a Redis server of their own, through the public API.

  use ExUnit.CaseTemplate

  alias RateLimiter.Support.Redis

  using do
    quote do
      import ExUnit.CaptureLog
      import RateLimiter.Support.Redis.Case

      alias RateLimiter.Support.Redis
      alias RateLimiter.Support.Redis.Heard
      alias RateLimiter.Usage

      @moduletag :capture_log
    end
  end

  # The test's name is a unique name for its limiter.
  setup context do
    {:ok, name: context.test, server: Redis.start!()}
  end

  @doc "Windows that do not refill while a test runs."
  def windows,
    do: [a: [limit: 1, per: {30, :day}, burst: 10], b: [limit: 1, per: {30, :day}, burst: 20]]

  @doc "Starts an instance with one limiter, and returns when Redis decides its calls."
  def start(context, store \\ [], limiter \\ []) do
    # Long enough for a busy machine. Tests of the deadline set their own.
    store = Keyword.merge([url: Redis.url(context.server), timeout: 5_000], store)
    limiter = Keyword.merge([windows: windows(), events: :none], limiter)

    pid =
      start_supervised!(
        {RateLimiter,
         name: context.name, store: {:redis, store}, limiters: [{context.name, limiter}]}
      )

    Redis.eventually(fn -> RateLimiter.health_check(context.name) == :ok end)
    pid
  end

  @doc "Returns the messages of the test process."
  def mailbox, do: self() |> Process.info(:messages) |> elem(1)

  @doc "Returns the process of a child."
  def child(supervisor, module) do
    [pid] = for {^module, pid, _, _} <- Supervisor.which_children(supervisor), do: pid
    pid
  end
end
