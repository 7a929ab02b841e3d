defmodule RateLimiter.Redis.Heartbeat do
  @moduledoc false
  # Announces this node in Redis at every interval, so that each node knows its share of a limit, and when it leaves.

  use GenServer

  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.Client

  @interval_ms 2_000

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{table: table} = instance),
    do: GenServer.start_link(__MODULE__, instance, name: Registry.via({:heartbeat, table}))

  @impl true
  def init(instance) do
    Process.flag(:trap_exit, true)
    {:ok, instance, {:continue, :beat}}
  end

  @impl true
  def handle_continue(:beat, instance), do: handle_info(:beat, instance)

  @impl true
  def handle_info(:beat, %{store: {:redis, store}} = instance) do
    Process.send_after(self(), :beat, @interval_ms)
    Client.beat(store)
    {:noreply, instance}
  end

  @impl true
  def terminate(:shutdown, %{store: {:redis, store}}), do: Client.leave(store)
  def terminate(_reason, _instance), do: :ok
end
