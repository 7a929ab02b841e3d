defmodule RateLimiter.VSM.Listener do
  @moduledoc false
  # Counts work that is reported by telemetry events, for subsystems with the option `:health`.
  #
  # The handler runs in the process that emits the event, so it only counts. If the instance was killed, the next event
  # finds no table and detaches the handler.

  use GenServer

  alias RateLimiter.VSM.{Gate, Table, Tree}

  @outcomes [:ok, :error, :timeout, :rejected]
  # Longer durations would overflow the native sum.
  @max_ms 100_000_000

  @doc false
  @spec start_link(Table.t()) :: GenServer.on_start() | :ignore
  def start_link(table) do
    case for {subsystem, %{health: {event, fun}}} <- Tree.all(table), do: {subsystem, event, fun} do
      [] -> :ignore
      handlers -> GenServer.start_link(__MODULE__, handlers)
    end
  end

  @impl true
  def init(handlers) do
    Process.flag(:trap_exit, true)
    # A handler that a crash of this process has left is still valid.
    for {subsystem, event, fun} <- handlers,
        do: :telemetry.attach(id(subsystem), event, &__MODULE__.handle/4, {subsystem, fun})

    {:ok, handlers}
  end

  @impl true
  def handle_info(_other, handlers), do: {:noreply, handlers}

  @impl true
  def terminate(_reason, handlers),
    do: for({subsystem, _event, _fun} <- handlers, do: :telemetry.detach(id(subsystem)))

  @doc false
  def handle(_event, measurements, metadata, {subsystem, fun}) do
    if :ets.info(subsystem.table, :size) == :undefined,
      do: :telemetry.detach(id(subsystem)),
      else: count(subsystem, fun, measurements, metadata)
  end

  defp id(subsystem), do: {__MODULE__, subsystem.table, subsystem.name}

  defp count(subsystem, fun, measurements, metadata) do
    case fun.(measurements, metadata) do
      :ignore ->
        :ok

      {outcome, ms} when outcome in @outcomes and is_number(ms) and ms >= 0 and ms <= @max_ms ->
        Gate.record(subsystem.gate, outcome, round(ms * 1_000))

      _invalid ->
        failed(subsystem)
    end
  rescue
    # Telemetry would detach a handler that raises.
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
