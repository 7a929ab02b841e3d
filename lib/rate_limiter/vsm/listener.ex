defmodule RateLimiter.VSM.Listener do
  @moduledoc false
  # Hears of work through the telemetry events that subsystems name as their health.
  #
  # The handler runs in whoever emits the event, so it only counts. When the instance has gone without saying so, the next
  # event finds no table and takes the handler away.

  use GenServer

  alias RateLimiter.VSM.{Gate, Table, Tree}

  @outcomes [:ok, :error, :timeout, :rejected]
  # No work takes longer, and the sum of as many still fits.
  @longest_ms 100_000_000

  @doc false
  @spec start_link(Table.t()) :: GenServer.on_start() | :ignore
  def start_link(table) do
    case for(
           {subsystem, %{health: {event, measure}}} <- Tree.all(table),
           do: {subsystem, event, measure}
         ) do
      [] -> :ignore
      heard -> GenServer.start_link(__MODULE__, heard)
    end
  end

  @impl true
  def init(heard) do
    Process.flag(:trap_exit, true)
    Enum.each(heard, &attach/1)
    {:ok, heard}
  end

  @impl true
  def handle_info(_other, heard), do: {:noreply, heard}

  @impl true
  def terminate(_reason, heard) do
    for {subsystem, _event, _measure} <- heard, do: :telemetry.detach(id(subsystem))
  end

  @doc false
  def handle(_event, measurements, metadata, {subsystem, measure}) do
    if :ets.info(subsystem.table, :size) == :undefined,
      do: :telemetry.detach(id(subsystem)),
      else: count(subsystem, measure, measurements, metadata)
  end

  # One that a crash of this process left is still right.
  defp attach({subsystem, event, measure}),
    do: :telemetry.attach(id(subsystem), event, &__MODULE__.handle/4, {subsystem, measure})

  defp id(subsystem), do: {__MODULE__, subsystem.table, subsystem.name}

  defp count(subsystem, measure, measurements, metadata) do
    case measure.(measurements, metadata) do
      :ignore ->
        :ok

      {outcome, ms}
      when outcome in @outcomes and is_number(ms) and ms >= 0 and ms <= @longest_ms ->
        Gate.record(subsystem.gate, outcome, round(ms * 1_000))

      _neither ->
        failed(subsystem)
    end
  rescue
    # Telemetry would take away a handler that raises.
    _error -> failed(subsystem)
  catch
    _kind, _reason -> failed(subsystem)
  end

  defp failed(%{table: table, name: name}) do
    Table.count(table, {:measure_failed, name})
    :ok
  rescue
    ArgumentError -> :ok
  end
end
