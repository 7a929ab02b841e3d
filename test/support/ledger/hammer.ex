defmodule RateLimiter.Support.Ledger.Hammer do
  @moduledoc false
  # One node's part of the ledger: an instance, and processes that ask it about the same few windows of keys without end.

  use GenServer

  alias RateLimiter.Support.Redis

  # Between two calls of a worker: the machine has to have time for all nodes and for Redis, too.
  @pause_ms 1
  @answer_ms 60_000

  # A worker's word while it is made to wait.
  @waits 2

  @breaker [:rate_limiter, :circuit_breaker, :opened]

  @doc "Starts the instance and the workers."
  @spec start(keyword, pos_integer, [{atom, pos_integer}, ...]) :: :ok
  def start(instance, workers, asked) do
    # By itself: who calls is a process of a moment.
    {:ok, _pid} = GenServer.start(__MODULE__, {instance, workers, asked}, name: __MODULE__)
    :ok
  end

  @doc "Whether the last answers of all workers came from Redis."
  @spec settled?() :: boolean
  def settled?, do: GenServer.call(__MODULE__, :settled?)

  @doc "Stops the instance and starts it again, whatever Redis does. Nothing is asked meanwhile."
  @spec restart() :: :ok
  def restart, do: GenServer.call(__MODULE__, :restart, @answer_ms)

  @doc "Ends it all, and tells what happened."
  @spec finish() :: map
  def finish, do: GenServer.call(__MODULE__, :finish, @answer_ms)

  @doc false
  def opened(@breaker, _measurements, _metadata, hammer),
    do: send(hammer, {:opened, System.os_time(:microsecond)})

  @impl true
  def init({instance, workers, asked}) do
    # The terminal belongs to the test.
    Logger.configure(level: :none)
    :ok = :telemetry.attach(__MODULE__, @breaker, &__MODULE__.opened/4, self())
    instance = resolve(instance)
    {:ok, supervisor} = RateLimiter.start_link(instance)
    # A node that starts knows nothing of the others yet: that is another matter.
    [{window, _key} | _] = asked
    Redis.ready!(:ledger, window)

    # One word for each worker: whether its last answer came from Redis; one to stop them all, and one to make them wait.
    flags = :atomics.new(workers + 2, [])
    made = :counters.new(1, [])
    hammer = self()

    for number <- 1..workers do
      spawn_link(fn ->
        worker = %{
          number: number,
          flags: flags,
          workers: workers,
          made: made,
          asked: List.to_tuple(asked),
          turn: number
        }

        send(hammer, {:done, worker |> Map.merge(blank()) |> work()})
      end)
    end

    {:ok,
     %{
       instance: instance,
       supervisor: supervisor,
       flags: flags,
       made: made,
       workers: workers,
       opened: []
     }}
  end

  @impl true
  def handle_call(:settled?, _from, state) do
    {:reply, Enum.all?(1..state.workers, &(:atomics.get(state.flags, &1) == 1)), state}
  end

  def handle_call(:restart, _from, state) do
    :atomics.put(state.flags, state.workers + 2, 1)
    waits? = &(:atomics.get(state.flags, &1) == @waits)
    Redis.eventually(fn -> Enum.all?(1..state.workers, waits?) end)
    Supervisor.stop(state.supervisor)
    {:ok, supervisor} = RateLimiter.start_link(state.instance)
    :atomics.put(state.flags, state.workers + 2, 0)
    {:reply, :ok, %{state | supervisor: supervisor}}
  end

  def handle_call(:finish, _from, state) do
    :atomics.put(state.flags, state.workers + 1, 1)
    results = for _worker <- 1..state.workers, do: receive(do: ({:done, result} -> result))
    state = opened(state)
    :telemetry.detach(__MODULE__)
    Supervisor.stop(state.supervisor)
    {:stop, :normal, told(results, state), state}
  end

  @impl true
  def handle_info({:opened, at}, state), do: {:noreply, %{state | opened: state.opened ++ [at]}}

  defp opened(state) do
    receive do
      {:opened, at} -> opened(%{state | opened: state.opened ++ [at]})
    after
      0 -> state
    end
  end

  defp told(results, state) do
    %{
      calls: :counters.get(state.made, 1),
      answered: results |> Enum.map(& &1.answered) |> Enum.sum(),
      alone_at: Enum.flat_map(results, & &1.alone_at),
      raised: results |> Enum.map(& &1.raised) |> Enum.sum(),
      leftover: results |> Enum.map(& &1.leftover) |> Enum.sum(),
      longest_us: results |> Enum.map(& &1.longest_us) |> Enum.max(),
      admitted: Enum.flat_map(results, & &1.admitted),
      opened: state.opened
    }
  end

  # A password that is read when connecting is read here, and a function does not travel well.
  defp resolve(instance) do
    with {:redis, store} <- instance[:store], {:file, path} <- store[:password] do
      store = Keyword.put(store, :password, fn -> File.read!(path) end)
      Keyword.put(instance, :store, {:redis, store})
    else
      _no_file -> instance
    end
  end

  ## A worker

  defp blank,
    do: %{
      answered: 0,
      alone_at: [],
      raised: 0,
      leftover: 0,
      longest_us: 0,
      admitted: []
    }

  defp work(worker) do
    cond do
      ordered?(worker, 1) ->
        {:message_queue_len, leftover} = Process.info(self(), :message_queue_len)
        %{worker | leftover: leftover}

      ordered?(worker, 2) ->
        :atomics.put(worker.flags, worker.number, @waits)
        :timer.sleep(@pause_ms)
        work(worker)

      true ->
        worker = ask(worker)
        # Not `Process.sleep/1`, which would take a message that was left over.
        :timer.sleep(@pause_ms)
        work(worker)
    end
  end

  defp ordered?(worker, order), do: :atomics.get(worker.flags, worker.workers + order) == 1

  defp ask(worker) do
    asked = elem(worker.asked, rem(worker.turn, tuple_size(worker.asked)))
    :counters.add(worker.made, 1, 1)
    from = System.os_time(:microsecond)
    answer = check(asked)
    to = System.os_time(:microsecond)

    %{worker | turn: worker.turn + 1, longest_us: max(worker.longest_us, to - from)}
    |> note(answer, asked, from, to)
  end

  defp check({window, key}) do
    RateLimiter.check_and_track(:ledger, key, window)
  rescue
    error -> {:raised, error}
  end

  defp note(worker, {:raised, _error}, _asked, _from, _to),
    do: %{worker | raised: worker.raised + 1}

  defp note(worker, answer, asked, from, to) do
    worker = %{worker | answered: worker.answered + 1} |> source(answer, to)

    case answer do
      {:ok, _usage} -> %{worker | admitted: [{asked, from, to} | worker.admitted]}
      {:error, _why, _usage} -> worker
    end
  end

  defp source(worker, answer, to) do
    case usage(answer).source do
      :redis ->
        :atomics.put(worker.flags, worker.number, 1)
        worker

      :fallback ->
        :atomics.put(worker.flags, worker.number, 0)
        %{worker | alone_at: [to | worker.alone_at]}
    end
  end

  defp usage({:ok, usage}), do: usage
  defp usage({:error, _why, usage}), do: usage
end
