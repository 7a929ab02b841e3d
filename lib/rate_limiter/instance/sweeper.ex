defmodule RateLimiter.Instance.Sweeper do
  @moduledoc false
  # Removes expired keys, in small steps. A step also lets aligned windows follow UTC, so after a pass all have, and a pass
  # reports when it begins that UTC was set.
  #
  # A pass over all limiters takes about ten seconds, independent of their size: its steps are counted at the start and
  # divided among the ticks. A step examines about 2,000 slots, which takes some microseconds, so neither schedulers nor
  # callers wait.
  #
  # The allocator keeps what a flood of keys has left. It is asked to give that back after each few megabytes, so that it
  # holds its locks for about a millisecond at a time.

  use GenServer

  alias RateLimiter.{Instance, Store, Telemetry}
  alias RateLimiter.Instance.Clock

  @tick_ms 100
  @ticks 100
  @slots 2_000

  # A key takes from 50 bytes to some hundreds.
  @release_after 50_000

  @type work :: [{RateLimiter.Core.Native.handle(), steps :: pos_integer}]

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{} = instance), do: GenServer.start_link(__MODULE__, instance)

  @doc "Returns the work of a pass."
  @spec plan([{RateLimiter.Core.Native.handle(), slots :: non_neg_integer}]) :: work
  def plan(sizes) do
    for {handle, slots} <- sizes, slots > 0, do: {handle, ceil(slots / @slots)}
  end

  @doc "Splits the work into the first `steps`, and the rest."
  @spec split(work, non_neg_integer) :: {work, work}
  def split(work, 0), do: {[], work}
  def split([], _steps), do: {[], []}

  def split([{handle, ahead} | work], steps) when ahead > steps,
    do: {[{handle, steps}], [{handle, ahead - steps} | work]}

  def split([{_handle, ahead} = all | work], steps) do
    {now, later} = split(work, steps - ahead)
    {[all | now], later}
  end

  @impl true
  def init(instance) do
    schedule()
    {:ok, %{instance: instance, work: [], steps: 0, ticks: 0, removed: 0, moved_ms: 0}}
  end

  @impl true
  def handle_info(:tick, state) do
    schedule()
    {:noreply, state |> begin() |> sweep() |> follow() |> release()}
  end

  # After the last tick the next pass starts with new counts.
  defp begin(%{ticks: 0, instance: instance} = state) do
    work = instance |> sizes() |> plan()
    steps = work |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    moved_ms = Clock.moved_ms(instance)
    if moved_ms != 0, do: Telemetry.clock(instance.name, moved_ms)
    %{state | work: work, steps: ceil(steps / @ticks), ticks: @ticks, moved_ms: moved_ms}
  end

  defp begin(state), do: state

  defp sweep(%{work: work, steps: steps, ticks: ticks} = state) do
    {now, later} = split(work, steps)
    removed = for {handle, steps} <- now, _step <- 1..steps, do: removed(handle)
    %{state | work: later, ticks: ticks - 1, removed: state.removed + Enum.sum(removed)}
  end

  defp follow(%{ticks: 0, instance: instance} = state) do
    Clock.follow(instance, state.moved_ms)
    state
  end

  defp follow(state), do: state

  defp removed(handle) do
    case Store.sweep(handle, @slots) do
      removed when is_integer(removed) -> removed
      :unknown_limiter -> 0
    end
  end

  defp release(%{removed: removed} = state) when removed < @release_after, do: state

  defp release(state) do
    :ok = Store.release_memory()
    %{state | removed: 0}
  end

  defp sizes(instance) do
    for {_name, handle, _config} <- Instance.all(instance), do: {handle, Store.slots(handle)}
  end

  defp schedule, do: Process.send_after(self(), :tick, @tick_ms)
end
