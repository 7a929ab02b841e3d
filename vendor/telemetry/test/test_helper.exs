defmodule Listener do
  @moduledoc "Handler functions, and the logs of the process that runs them."

  def echo(event, measurements, metadata, pid) do
    send(pid, {:event, event, measurements, metadata})
  end

  def fail(_event, _measurements, _metadata, {:error, reason}), do: :erlang.error(reason)
  def fail(_event, _measurements, _metadata, {:throw, reason}), do: throw(reason)
  def fail(_event, _measurements, _metadata, {:exit, reason}), do: exit(reason)

  @doc """
  A primary logger filter: what telemetry logs goes to the process that logs it.

  Filters run in that process, so a test receives its own logs and no others.
  """
  def log(%{meta: %{mfa: {module, _, _}}} = event, _)
      when module in [:telemetry, :telemetry_handler_table] do
    send(self(), {:log, event})
    :stop
  end

  # The application is stopped, started and killed on purpose.
  def log(%{msg: {:report, %{label: {source, _}}}}, _)
      when source in [:application_controller, :supervisor],
      do: :stop

  def log(_event, _), do: :ignore
end

:logger.set_primary_config(:level, :info)
:ok = :logger.add_primary_filter(:listener, {&Listener.log/2, nil})

ExUnit.start()
