defmodule RateLimiter.Redis.Heartbeat do
  @moduledoc false
  # Says in Redis, again and again, that this node is there, so that each knows its share; and when it leaves.

  use GenServer

  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.Client

  @beat_ms 2_000
  # Several beats may be lost before a node counts as gone.
  @keep_ms 10_000

  @doc "How long a node that says nothing is counted, in milliseconds."
  @spec keep_ms() :: pos_integer
  def keep_ms, do: @keep_ms

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{table: table} = limiters),
    do: GenServer.start_link(__MODULE__, limiters, name: Registry.via({:heartbeat, table}))

  @doc "Says at once that this node is there: Redis has just come back."
  @spec beat(Instance.t()) :: :ok
  def beat(%Instance{store: {:redis, store}}) do
    Client.beat(store)
    :ok
  end

  @impl true
  def init(limiters) do
    Process.flag(:trap_exit, true)
    {:ok, limiters, {:continue, :beat}}
  end

  @impl true
  def handle_continue(:beat, limiters), do: handle_info(:beat, limiters)

  @impl true
  def handle_info(:beat, limiters) do
    Process.send_after(self(), :beat, @beat_ms)
    beat(limiters)
    {:noreply, limiters}
  end

  # The name that this process is called by has gone: it begins again, under the name.
  def handle_info({:EXIT, _registry, reason}, limiters),
    do: {:stop, {:unregistered, reason}, limiters}

  @impl true
  def terminate(:shutdown, %{store: {:redis, store}}), do: Client.leave(store)
  def terminate(_reason, _limiters), do: :ok
end
