defmodule RateLimiter.Store.Events do
  @moduledoc false
  # Emits a telemetry event when the breaker of a store changes.

  use GenServer

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Store.Client

  @doc false
  @spec start_link({Instance.t(), module}) :: GenServer.on_start()
  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @impl true
  def init({%Instance{store: {:store, store}}, _module} = state) do
    Client.listen(store)
    {:ok, state}
  end

  @impl true
  def handle_info({:store_breaker, from, to, reason}, {instance, module} = state) do
    Telemetry.Redis.emit(instance.name, {:breaker, inspect(module), from, to, reason})
    {:noreply, state}
  end
end
