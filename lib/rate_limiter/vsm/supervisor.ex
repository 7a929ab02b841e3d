defmodule RateLimiter.VSM.Supervisor do
  @moduledoc false
  # The slow loops of an instance: a controller for each subsystem, one for this node's gate, and the listener to work
  # that is reported by events.
  #
  # Each is restarted alone. No limit may end for the sake of a loop that moves it, so this one is very patient.

  use Supervisor

  alias RateLimiter.Sensors.Monitor
  alias RateLimiter.VSM.{Controller, Listener, Table}

  @doc false
  @spec start_link(Table.t()) :: Supervisor.on_start()
  def start_link(table), do: Supervisor.start_link(__MODULE__, table)

  @impl true
  def init(table) do
    %{subsystems: subsystems, sensors: sensors} = Table.config(table)
    controllers = for {name, _own} <- subsystems, do: {Controller, {table, name}}
    monitor = if sensors == [], do: [], else: [{Monitor, table}]

    Supervisor.init(controllers ++ monitor ++ [{Listener, table}],
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1
    )
  end
end
