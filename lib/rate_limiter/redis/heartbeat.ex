defmodule RateLimiter.Redis.Heartbeat do
  @moduledoc false
  # Announces this node in Redis at every interval, so that each node knows its share of a limit, and when it leaves. Until
  # the share is final, after a node has joined or left, the interval is short.

  use GenServer

  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.Client

  @interval_ms 2_000
  @unsettled_ms 200

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
    settled? = Client.beat(store) == true
    Process.send_after(self(), :beat, if(settled?, do: @interval_ms, else: @unsettled_ms))
    {:noreply, instance}
  end

  @impl true
  def terminate(:shutdown, %{store: {:redis, store}}), do: Client.leave(store)
  def terminate(_reason, _instance), do: :ok
end
