defmodule RateLimiter.Store.Pool do
  @moduledoc false
  # The processes of a store that is written in Elixir: its workers, and those that emit its events and sweep it.

  use Supervisor

  alias RateLimiter.Instance
  alias RateLimiter.Store.{Config, Events, Sweeper, Worker}

  @doc false
  @spec start_link({Instance.t(), Config.t(), state :: term}) :: Supervisor.on_start()
  def start_link(argument), do: Supervisor.start_link(__MODULE__, argument)

  # A worker ends with an error only if something kills it. Counts are worth more than an early end.
  @impl true
  def init({%Instance{store: {:store, store}} = instance, config, state}) do
    workers =
      for number <- 0..(config.workers - 1) do
        {Worker,
         %Worker{
           store: store,
           number: number,
           module: config.module,
           state: state,
           timeout: config.timeout
         }}
      end

    others = [{Events, {instance, config.module}}, {Sweeper, {config.module, state}}]

    Supervisor.init(others ++ workers,
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1
    )
  end
end
