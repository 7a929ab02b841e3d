defmodule RateLimiter.Store.Worker do
  @moduledoc false
  # Calls a store: gets one batch at a time, runs it in a process of its own, and ends that process when its time is over.

  use GenServer

  alias RateLimiter.Store.{Batch, Client}

  @enforce_keys [:store, :number, :module, :state, :timeout]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          store: RateLimiter.Core.Native.store(),
          number: non_neg_integer,
          module: module,
          state: term,
          timeout: pos_integer
        }

  @doc false
  @spec start_link(t) :: GenServer.on_start()
  def start_link(%__MODULE__{} = worker), do: GenServer.start_link(__MODULE__, worker)

  @doc false
  def child_spec(%__MODULE__{} = worker),
    do: %{id: {__MODULE__, worker.number}, start: {__MODULE__, :start_link, [worker]}}

  @impl true
  def init(worker), do: {:ok, worker, {:continue, :join}}

  @impl true
  def handle_continue(:join, worker) do
    Client.join(worker.store, worker.number)
    {:noreply, worker}
  end

  # The authority sends the next batch only after this one is finished. So nothing but a request of the runtime waits here.
  @impl true
  def handle_info({:store_batch, number, keys}, worker) do
    %{store: store, number: own, module: module, state: state} = worker

    {pid, monitor} =
      spawn_monitor(fn -> Client.finish(store, own, number, Batch.run(module, state, keys)) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, :normal} ->
        :ok

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        give_up(worker, number, keys, "the process ended: #{Client.words(reason)}")
    after
      worker.timeout ->
        Process.exit(pid, :kill)
        Process.demonitor(monitor, [:flush])
        give_up(worker, number, keys, "no answer within #{worker.timeout} ms")
    end

    {:noreply, worker}
  end

  # A message that a store has sent here by mistake.
  def handle_info(_other, worker), do: {:noreply, worker}

  defp give_up(worker, number, keys, reason),
    do: Client.finish(worker.store, worker.number, number, Batch.failed(keys, {false, reason}))
end
