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

    Supervisor.start_link(children, strategy: :one_for_one, name: RateLimiter.Supervisor)
  end
end
