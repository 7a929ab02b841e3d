defmodule RateLimiter.Await.Queue do
  @moduledoc false
  # The order of waiting callers, for each id and its windows: that of their arrival.
  #
  # A caller has its turn until it leaves, exits, or stops waiting. A table names the ids with waiting callers, so that a
  # call about any other id needs no message.

  use GenServer

  alias RateLimiter.Core.Native
  alias RateLimiter.Store.Lookup

  @type key :: {Native.handle(), RateLimiter.id(), Lookup.names()}

  @table __MODULE__

  @doc false
  @spec start_link(term) :: GenServer.on_start()
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Returns how many callers have their turn or wait for it, and the sum of their costs."
  @spec ahead(key) :: {callers :: non_neg_integer, cost :: integer}
  def ahead(key) do
    case :ets.lookup(@table, key) do
      [{^key, callers, cost}] -> {callers, cost}
      [] -> {0, 0}
    end
  rescue
    # The process is restarted.
    ArgumentError -> {0, 0}
  end

  @doc "Runs a function when it is the caller's turn, which it then has until the function returns."
  @spec in_turn(key, cost :: integer, timeout, (... -> result)) :: {:ok, result} | :timeout
        when result: term
  def in_turn(key, cost, timeout, fun) do
    turn = make_ref()

    try do
      with :ok <- join({turn, key, cost}, timeout), do: {:ok, fun.()}
    after
      GenServer.cast(__MODULE__, {:leave, turn})
    end
  end

  defp join(turn, timeout) do
    GenServer.call(__MODULE__, {:join, turn}, timeout)
  catch
    :exit, {:timeout, _call} -> :timeout
    # Without the process there is no order, but each caller still waits for its limit.
    :exit, _reason -> :ok
  end

  # A place is a number that grows, and whom to tell. `turns` has each turn's key, place, cost and monitor; `queues` the
  # places of each key.
  @impl true
  def init(nil) do
    :ets.new(@table, [:named_table, read_concurrency: true])
    {:ok, %{turns: %{}, monitors: %{}, queues: %{}, next: 0}}
  end

  @impl true
  def handle_call({:join, {turn, key, cost}}, {pid, _tag} = from, state) do
    queue = Map.get(state.queues, key, :gb_sets.empty())
    place = {state.next, from}
    monitor = Process.monitor(pid)
    count(key, 1, cost)

    state = %{
      turns: Map.put(state.turns, turn, {key, place, cost, monitor}),
      monitors: Map.put(state.monitors, monitor, turn),
      queues: Map.put(state.queues, key, :gb_sets.add_element(place, queue)),
      next: state.next + 1
    }

    if :gb_sets.is_empty(queue), do: {:reply, :ok, state}, else: {:noreply, state}
  end

  @impl true
  def handle_cast({:leave, turn}, state), do: {:noreply, leave(state, turn)}

  @impl true
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state),
    do: {:noreply, leave(state, state.monitors[monitor])}

  defp leave(state, turn) do
    case Map.pop(state.turns, turn) do
      # The process that knew it was killed.
      {nil, _turns} ->
        state

      {{key, place, cost, monitor}, turns} ->
        Process.demonitor(monitor, [:flush])
        count(key, -1, -cost)
        queue = state.queues[key]
        rest = :gb_sets.del_element(place, queue)
        if :gb_sets.smallest(queue) == place, do: call_next(rest)
        queues = put(state.queues, key, rest)
        %{state | turns: turns, queues: queues, monitors: Map.delete(state.monitors, monitor)}
    end
  end

  defp call_next(queue) do
    unless :gb_sets.is_empty(queue) do
      {_number, from} = :gb_sets.smallest(queue)
      GenServer.reply(from, :ok)
    end
  end

  defp put(queues, key, queue) do
    if :gb_sets.is_empty(queue), do: Map.delete(queues, key), else: Map.put(queues, key, queue)
  end

  defp count(key, callers, cost) do
    case :ets.update_counter(@table, key, [{2, callers}, {3, cost}], {key, 0, 0}) do
      [0, _cost] -> :ets.delete(@table, key)
      _counts -> true
    end
  end
end
