defmodule RateLimiter.Store.Sweeper do
  @moduledoc false
  # Lets a store remove values whose time is over, in small steps. A step that fails is tried again.

  use GenServer

  @pause_ms 1_000

  @doc false
  @spec start_link({module, state :: term}) :: GenServer.on_start() | :ignore
  def start_link({module, state}) do
    if function_exported?(module, :sweep, 2),
      do: GenServer.start_link(__MODULE__, {module, state, nil}),
      else: :ignore
  end

  @doc "Takes one step, and returns where the next one begins."
  @spec step(module, term, term) :: term
  def step(module, state, last) do
    module.sweep(state, last)
  catch
    _kind, _reason -> last
  end

  @impl true
  def init(state) do
    schedule()
    {:ok, state}
  end

  @impl true
  def handle_info(:step, {module, state, last}) do
    schedule()
    {:noreply, {module, state, step(module, state, last)}}
  end

  # A late reply of the store's client.
  def handle_info(_other, state), do: {:noreply, state}

  defp schedule, do: Process.send_after(self(), :step, @pause_ms)
end
