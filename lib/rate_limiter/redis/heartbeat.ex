defmodule RateLimiter.Redis.Heartbeat do
  @moduledoc false
  # Says in Redis, again and again, that this node is there, so that each knows its share; and when it leaves.

  use GenServer

  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.Client

  @beat_ms 2_000
  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{table: table} = instance),
    do: GenServer.start_link(__MODULE__, instance, name: Registry.via({:heartbeat, table}))

  @doc "Says at once that this node is there: Redis has just come back."
  @spec beat(Instance.t()) :: :ok
  def beat(%Instance{store: {:redis, store}}) do
    Client.beat(store)
    :ok
  end

  @impl true
  def init(instance) do
    Process.flag(:trap_exit, true)
    {:ok, instance, {:continue, :beat}}
  end

  @impl true
  def handle_continue(:beat, instance), do: handle_info(:beat, instance)

  @impl true
  def handle_info(:beat, instance) do
    Process.send_after(self(), :beat, @beat_ms)
    beat(instance)
    {:noreply, instance}
  end

  # The name that this process is called by has gone: it begins again, under the name.
  def handle_info({:EXIT, _registry, reason}, instance),
    do: {:stop, {:unregistered, reason}, instance}

  @impl true
  def terminate(:shutdown, %{store: {:redis, store}}), do: Client.leave(store)
  def terminate(_reason, _limiters), do: :ok
end
