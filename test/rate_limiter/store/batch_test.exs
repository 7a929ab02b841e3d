defmodule RateLimiter.Store.BatchTest do
  # Runs batches as an authority hands them out: the test is the worker.
  use ExUnit.Case, async: true

  alias RateLimiter.{Store, Usage}
  alias RateLimiter.Core.Native
  alias RateLimiter.Store.{Batch, Client, Config, Mock}

  # Returns what the test says.
  defmodule Scripted do
    @behaviour RateLimiter.Store

    @impl true
    def init(options), do: {:ok, Map.new(options)}

    @impl true
    def update(%{update: update}, key, change), do: update.(key, change)
  end

  defmodule ScriptedAtOnce do
    @behaviour RateLimiter.Store

    @impl true
    def init(options), do: {:ok, Map.new(options)}

    @impl true
    def update(_state, _key, _change), do: {:error, :unused}

    @impl true
    def update_many(state, keys, change), do: state.update_many.(keys, change)

    @impl true
    def now(state), do: state.now.()
  end

  setup context do
    {:ok, store, owner, _state} =
      Client.start(
        :test,
        Config.new!(Mock, nodes: 1, workers: 1, timeout: 20_000, name: :"mock #{context.test}")
      )

    windows = [{:w, :token_bucket, 5, 3_600_000_000_000, nil, nil, {false, true}}]
    options = {:none, 100, nil, :share}
    {:ok, _handle, limiter} = Native.new_shared_limiter(windows, options, {store, context.test})
    :ok = Store.bind(context.test, limiter)
    Client.join(store, 0)
    on_exit(fn -> {owner, limiter} end)
    {:ok, store: store, name: context.test}
  end

  # Calls about ids, and the batches that they become.
  defp call(name, ids) do
    task = Task.async(fn -> RateLimiter.check_batch(name, for(id <- ids, do: {id, 1}), :w) end)
    assert_receive {:store_batch, number, keys}, 5_000
    {task, number, keys}
  end

  defp answers(task, store, number, results) do
    Client.finish(store, 0, number, results)
    Task.await(task)
  end

  test "each key is updated, and its reply returned in order", %{store: store, name: name} do
    {task, number, keys} = call(name, ["a", "b"])

    put = fn _key, change ->
      with {:put, _value, _ttl, reply} <- change.(nil), do: {:ok, reply}
    end

    results = Batch.run(Scripted, %{update: put}, keys)

    assert [{:ok, %Usage{remaining: 4}}, {:ok, %Usage{remaining: 4}}] =
             answers(task, store, number, results)
  end

  test "calls about one key are one update", %{store: store, name: name} do
    {task, number, [{_key, _calls}] = keys} = call(name, ["a", "a", "a", "a", "a", "a"])

    put = fn _key, change ->
      with {:put, _value, _ttl, reply} <- change.(nil), do: {:ok, reply}
    end

    answers = answers(task, store, number, Batch.run(Scripted, %{update: put}, keys))
    assert Enum.map(answers, &elem(&1, 0)) == [:ok, :ok, :ok, :ok, :ok, :error]
  end

  test "the time counts that the store passes with the value", %{store: store, name: name} do
    hour_us = 3_600_000_000
    now = System.os_time(:microsecond)

    run = fn id, value, at ->
      {task, number, keys} = call(name, [id])
      test = self()

      update = fn _key, change ->
        {:put, value, ttl_ms, reply} = change.({value, at})
        send(test, {:put, value, ttl_ms})
        {:ok, reply}
      end

      [answer] = answers(task, store, number, Batch.run(Scripted, %{update: update}, keys))

      assert_received {:put, value, ttl_ms}
      {answer, value, ttl_ms}
    end

    {{:ok, usage}, value, ttl_ms} = run.("a", nil, now)
    assert usage.remaining == 4
    # A token is back after a fifth of an hour. A second more, for nodes whose clocks are behind.
    assert ttl_ms == div(hour_us, 5_000) + 1_000
    assert {{:ok, %Usage{remaining: 4}}, _value, _ttl} = run.("a", value, now + div(hour_us, 5))
    assert {{:ok, %Usage{remaining: 3}}, _value, _ttl} = run.("a", value, now + 1)
  end

  test "what a store returns or raises is a failure of that key alone", %{name: name} do
    {_task, _number, keys} = call(name, ["a", "b", "c", "d", "e"])
    steps = :counters.new(1, [])

    update = fn _key, change ->
      :counters.add(steps, 1, 1)

      case :counters.get(steps, 1) do
        1 -> {:error, :full}
        2 -> raise "disk"
        3 -> throw(:ball)
        4 -> :nonsense
        5 -> with {_write, _value, _ttl, reply} <- change.(nil), do: {:ok, reply}
      end
    end

    assert [{true, ":full"}, {false, "disk"}, {false, "throw: :ball"}, {false, nonsense}, reply] =
             Batch.run(Scripted, %{update: update}, keys)

    assert nonsense =~ "expected {:ok, reply}"
    assert is_reference(reply)
  end

  test "a store that updates many keys at once gets them together, at the time of its clock",
       context do
    {task, number, keys} = call(context.name, ["a", "b"])
    test = self()

    state = %{
      now: fn -> 1_000_000 end,
      update_many: fn keys, change ->
        send(test, {:keys, keys})

        for key <- keys do
          {:put, _value, _ttl, reply} = change.(key, nil)
          {:ok, reply}
        end
      end
    }

    results = Batch.run(ScriptedAtOnce, state, keys)
    assert [{:ok, _usage}, {:ok, _other}] = answers(task, context.store, number, results)
    assert_received {:keys, names}
    assert names == Enum.map(keys, &elem(&1, 0))
  end

  test "a batch that fails as a whole is a failure of each key", %{name: name} do
    {_task, _number, keys} = call(name, ["a", "b"])
    fewer = %{now: fn -> 0 end, update_many: fn _keys, _change -> [] end}
    assert [{false, _nonsense}, {false, _other}] = Batch.run(ScriptedAtOnce, fewer, keys)
    clock = %{now: fn -> raise "no clock" end}
    assert Batch.run(ScriptedAtOnce, clock, keys) == [{false, "no clock"}, {false, "no clock"}]
  end

  test "the reply of another update is none", %{store: store, name: name} do
    {task, number, [{_, calls}]} = call(name, ["a"])
    {:put, _value, _ttl, reply} = Client.decide(calls, nil, nil)
    assert [{:ok, %Usage{source: :store}}] = answers(task, store, number, [reply])

    {task, number, _keys} = call(name, ["a"])
    assert [{:ok, %Usage{source: :fallback}}] = answers(task, store, number, [reply])
    assert Client.status(store).problem =~ "the reply of another update"
  end

  test "failed/2 is the same failure for each key" do
    assert Batch.failed([{"a", nil}, {"b", nil}], {true, "x"}) == [{true, "x"}, {true, "x"}]
  end
end
