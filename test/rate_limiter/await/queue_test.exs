defmodule RateLimiter.Await.QueueTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Await.Queue

  setup %{test: name} do
    {:ok, key: {name, "u", :w}}
  end

  # A caller that says when it has its turn, and leaves when it is told to.
  defp caller(key, name, timeout \\ :infinity) do
    test = self()

    caller =
      spawn(fn ->
        result =
          Queue.in_turn(key, 1, timeout, fn ->
            send(test, {:turn, name})
            receive(do: (:leave -> name))
          end)

        send(test, {:left, name, result})
      end)

    eventually(fn -> match?({:monitors, [_ | _]}, queue_monitors(caller)) end)
    caller
  end

  defp queue_monitors(caller) do
    {:monitored_by, pids} = Process.info(caller, :monitored_by) || {:monitored_by, [:gone]}
    {:monitors, Enum.filter(pids, &(&1 == :gone or &1 == Process.whereis(Queue)))}
  end

  test "callers have their turn one after the other, in the order in which they came", %{key: key} do
    callers = for n <- 1..20, do: {n, caller(key, n)}
    assert Queue.ahead(key) == {20, 20}

    for {n, caller} <- callers do
      assert_receive {:turn, ^n}, 30_000
      refute_received {:turn, _next}
      send(caller, :leave)
      assert_receive {:left, ^n, {:ok, ^n}}, 30_000
    end

    eventually(fn -> Queue.ahead(key) == {0, 0} end)
  end

  test "callers of other keys do not wait", %{key: {name, _, _} = key} do
    keys = [key, {name, "v", :w}, {name, "u", []}, {:other, "u", :w}]
    callers = for key <- keys, do: caller(key, key)
    for key <- keys, do: assert_receive({:turn, ^key}, 30_000)
    Enum.each(callers, &send(&1, :leave))
  end

  test "a caller that is killed leaves the queue, whether it has its turn or waits", %{key: key} do
    [first, second, third] = for n <- 1..3, do: caller(key, n)
    assert_receive {:turn, 1}, 30_000
    Process.exit(second, :kill)
    eventually(fn -> Queue.ahead(key) == {2, 2} end)
    Process.exit(first, :kill)
    assert_receive {:turn, 3}, 30_000
    send(third, :leave)
    eventually(fn -> Queue.ahead(key) == {0, 0} end)
  end

  test "a caller that waits too long leaves the queue, and receives nothing later", %{key: key} do
    first = caller(key, 1)
    assert_receive {:turn, 1}, 30_000
    assert Queue.in_turn(key, 7, 5, fn -> flunk("not its turn") end) == :timeout
    eventually(fn -> Queue.ahead(key) == {1, 1} end)
    second = caller(key, 2)
    send(first, :leave)
    assert_receive {:turn, 2}, 30_000
    send(second, :leave)
    assert_receive {:left, 2, _}, 30_000
    assert_receive {:left, 1, _}, 30_000
    assert Process.info(self(), :messages) == {:messages, []}
  end

  test "an exception ends the turn", %{key: key} do
    assert_raise RuntimeError, fn -> Queue.in_turn(key, 1, 5_000, fn -> raise "no" end) end
    assert Queue.in_turn(key, 1, 30_000, fn -> :turn end) == {:ok, :turn}
    eventually(fn -> Queue.ahead(key) == {0, 0} end)
  end

  test "whatever callers do, each turn is had once, and nothing of them stays", %{key: key} do
    keys = for n <- 1..3, do: put_elem(key, 1, n)
    busy = :counters.new(3, [])

    callers =
      for n <- 1..200 do
        key = Enum.random(keys)
        at = elem(key, 1)
        what = Enum.random([:work, :work, :kill, :raise, :timeout])

        spawn_monitor(fn ->
          Queue.in_turn(key, n, if(what == :timeout, do: 1, else: :infinity), fn ->
            :counters.add(busy, at, 1)
            1 = :counters.get(busy, at)
            if rem(n, 3) == 0, do: Process.sleep(1)
            :counters.sub(busy, at, 1)
            if what == :kill, do: Process.exit(self(), :kill)
            if what == :raise, do: exit(:raised)
          end)
        end)
      end

    reasons =
      for {pid, ref} <- callers do
        assert_receive {:DOWN, ^ref, :process, ^pid, reason}, 30_000
        reason
      end

    assert Enum.uniq(reasons) -- [:normal, :killed, :raised] == []
    eventually(fn -> Enum.all?(keys, &(Queue.ahead(&1) == {0, 0})) end)
    state = :sys.get_state(Queue)
    for key <- keys, do: refute(Map.has_key?(state.queues, key))
    refute Enum.any?(state.turns, fn {_turn, {key, _, _, _}} -> key in keys end)
    assert map_size(state.turns) == map_size(state.monitors)
  end
end
