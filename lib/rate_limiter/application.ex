defmodule RateLimiter.Application do
  @moduledoc false
  # The processes that all instances of a node share: the tables of names, subscribers and pauses, the queue of callers
  # that wait, the supervisor of tests' limiters, and the history of the dashboard, which sleeps until a page is asked for.

  use Application

  @impl true
  def start(_type, _args) do
    RateLimiter.Telemetry.IdHash.start()
    RateLimiter.Instance.Names.open()
    RateLimiter.Req.Pauses.open()
    RateLimiter.Logger.attach()

    children = [
      RateLimiter.Await.Queue,
      {DynamicSupervisor, name: RateLimiter.Test.Supervisor},
      {RateLimiter.Dashboard.History, name: RateLimiter.Dashboard.History}
    ]

    # The end of this supervisor could end the node, so it tolerates very many restarts, as that of an instance does.
    Supervisor.start_link(children,
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1,
      name: RateLimiter.Supervisor
    )
  end
end
