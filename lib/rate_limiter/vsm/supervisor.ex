defmodule RateLimiter.VSM.Supervisor do
  @moduledoc false
  # The processes of an instance's subsystems: a controller for each, the monitor of this node's gate, and the listener
  # to telemetry events that report work.
  #
  # Each is restarted alone. A crash loop of a controller must not stop the instance with its limits, so this supervisor
  # tolerates very many restarts.

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
