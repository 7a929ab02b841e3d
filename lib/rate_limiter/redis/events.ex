defmodule RateLimiter.Redis.Events do
  @moduledoc false
  # Receives the events of the native Redis client, and emits them as telemetry.
  #
  # Events of batches, of which there may be thousands a second, are sent only while a handler is attached, and only as
  # many as this process has acknowledged, so that a slow handler does not fill the mailbox.

  use GenServer

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.{Client, Credentials}

  @refresh_ms 1_000

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{table: table} = instance),
    do: GenServer.start_link(__MODULE__, instance, name: Registry.via({:events, table}))

  @impl true
  def init(%Instance{store: {:redis, store}} = instance) do
    listen(store)
    {:ok, instance, {:continue, Client.subscribe(store, self())}}
  end

  # The events from before this process was known.
  @impl true
  def handle_continue(events, instance) do
    if is_list(events), do: Enum.each(events, &emit(&1, instance))
    {:noreply, instance}
  end

  @impl true
  def handle_info({:redis_event, event}, instance) do
    emit(event, instance)
    {:noreply, instance}
  end

  def handle_info(:refresh, %{store: {:redis, store}} = instance) do
    listen(store)
    {:noreply, instance}
  end

  defp emit(event, instance) do
    Telemetry.Redis.emit(instance.name, event)
    react(event, instance)
  end

  defp react({:batch, _, _, _, _, _}, %{store: {:redis, store}}), do: Client.handled(store)
  # After an outage the other nodes may no longer count this one.
  defp react({:connection, _server, :up, _reason}, %{store: {:redis, store}}),
    do: Client.beat(store)

  defp react({:connection, _server, _lost, _reason}, instance), do: Credentials.reload(instance)
  defp react(_event, _instance), do: :ok

  defp listen(store) do
    Client.report_batches(store, Telemetry.commands_listened?())
    Process.send_after(self(), :refresh, @refresh_ms)
  end
end
