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
  def start_link(%Instance{table: table} = limiters),
    do: GenServer.start_link(__MODULE__, limiters, name: Registry.via({:watcher, table}))

  @impl true
  def init(%Instance{store: {:redis, store}} = limiters) do
    listen(store)
    {:ok, limiters, {:continue, Client.watch(store, self())}}
  end

  # What happened before anybody listened.
  @impl true
  def handle_continue(events, limiters) do
    if is_list(events), do: Enum.each(events, &tell(&1, limiters))
    {:noreply, limiters}
  end

  @impl true
  def handle_info({:redis_event, event}, limiters) do
    tell(event, limiters)
    {:noreply, limiters}
  end

  def handle_info(:look, %{store: {:redis, store}} = limiters) do
    listen(store)
    {:noreply, limiters}
  end

  defp tell(event, limiters) do
    Telemetry.redis(limiters.instance, event)
    follow(event, limiters)
  end

  defp follow({:batch, _, _, _, _, _}, %{store: {:redis, store}}),
    do: Client.heard(store)

  defp follow({:connection, _server, :up, _reason}, limiters), do: Heartbeat.beat(limiters)
  defp follow({:connection, _server, _lost, _reason}, limiters), do: Credentials.look(limiters)
  defp follow(_event, _limiters), do: :ok

  defp listen(store) do
    Client.listen(store, Telemetry.commands_listened?())
    Process.send_after(self(), :look, @look_ms)
  end
end
