defmodule RateLimiter.Redis.Events do
  @moduledoc false
  # Hears from the native library what happens between here and Redis, and makes events of it.
  #
  # The ends of batches are told only where somebody listens: there may be thousands a second. Of these the library
  # sends so many more as were dealt with, so that a slow handler fills no mailbox.

  use GenServer

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.{Client, Credentials, Heartbeat}

  @look_ms 1_000

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{table: table} = instance),
    do: GenServer.start_link(__MODULE__, instance, name: Registry.via({:events, table}))

  @impl true
  def init(%Instance{store: {:redis, store}} = instance) do
    listen(store)
    {:ok, instance, {:continue, Client.watch(store, self())}}
  end

  # What happened before anybody listened.
  @impl true
  def handle_continue(events, instance) do
    if is_list(events), do: Enum.each(events, &tell(&1, instance))
    {:noreply, instance}
  end

  @impl true
  def handle_info({:redis_event, event}, instance) do
    tell(event, instance)
    {:noreply, instance}
  end

  def handle_info(:look, %{store: {:redis, store}} = instance) do
    listen(store)
    {:noreply, instance}
  end

  defp tell(event, instance) do
    Telemetry.redis(instance.name, event)
    follow(event, instance)
  end

  defp follow({:batch, _, _, _, _, _}, %{store: {:redis, store}}),
    do: Client.heard(store)

  defp follow({:connection, _server, :up, _reason}, instance), do: Heartbeat.beat(instance)
  defp follow({:connection, _server, _lost, _reason}, instance), do: Credentials.look(instance)
  defp follow(_event, _limiters), do: :ok

  defp listen(store) do
    Client.listen(store, Telemetry.commands_listened?())
    Process.send_after(self(), :look, @look_ms)
  end
end
