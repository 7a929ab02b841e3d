defmodule RateLimiter.Instance.NamesTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Processes

  alias RateLimiter.Instance.Names

  defp key, do: {:instance, make_ref()}

  defp process do
    pid = spawn(fn -> Process.sleep(:infinity) end)
    on_exit(fn -> Process.exit(pid, :kill) end)
    pid
  end

  test "a name belongs to one process while it lives, then to the next" do
    {key, first, second} = {key(), process(), process()}
    assert Names.register(key, first, :a) == :ok
    assert Names.register(key, second, :b) == {:error, {:already_registered, first}}
    assert Names.lookup(key) == {first, :a}
    kill(first)
    assert Names.lookup(key) == nil
    assert Names.whereis_name(key) == :undefined
    assert Names.register(key, second, :b) == :ok
    assert Names.lookup(key) == {second, :b}
    Names.unregister_name(key)
    assert Names.whereis(key) == nil
  end

  test "of many processes that register at once, exactly one has the name" do
    for _ <- 1..20 do
      {key, dead} = {key(), process()}
      :ok = Names.register(key, dead, nil)
      kill(dead)

      processes = for _ <- 1..8, do: process()

      answers =
        processes
        |> Enum.map(&Task.async(fn -> {&1, Names.register(key, &1, &1)} end))
        |> Task.await_many()

      assert [{winner, :ok}] = Enum.filter(answers, &match?({_pid, :ok}, &1))

      for {pid, answer} <- answers, pid != winner do
        assert answer == {:error, {:already_registered, winner}}
      end

      assert Names.lookup(key) == {winner, winner}
      Names.unregister_name(key)
    end
  end

  test "a value is replaced, and its process stays" do
    {key, pid} = {key(), process()}
    :ok = Names.register(key, pid, 1)
    assert Names.put(key, 2) == :ok
    assert Names.lookup(key) == {pid, 2}
    assert {elem(key, 1), pid, 2} in Names.all(:instance)
    kill(pid)
    refute Enum.any?(Names.all(:instance), &(elem(&1, 1) == pid))
  end

  test "a process of an instance replaces the one before, and its name ends with the table" do
    table = :ets.new(:names_test, [:public])
    key = {:writer, table}
    {first, second} = {process(), process()}
    assert Names.register_name(key, first) == :yes
    assert Names.register_name(key, second) == :yes
    assert Names.whereis_name(key) == second
    :ets.delete(table)
    assert Names.register_name(key, first) == :no
    assert Names.whereis_name(key) == :undefined
  end

  test "a process is started and called by its name" do
    table = :ets.new(:names_test, [:public])
    {:ok, pid} = Agent.start_link(fn -> 1 end, name: Names.via({:monitor, table}))
    assert Names.whereis({:monitor, table}) == pid
    assert Agent.get(Names.via({:monitor, table}), & &1) == 1
  end

  test "a topic has each subscriber once, and forgets those that exited" do
    topic = make_ref()
    test = self()
    dead = spawn(fn -> send(test, Names.subscribe(topic)) end)
    ref = Process.monitor(dead)
    assert_receive {:DOWN, ^ref, :process, ^dead, _reason}, 5_000

    Names.subscribe(topic)
    Names.subscribe(topic)
    assert Names.subscribers(topic) == [self()]
    assert Names.unsubscribe(topic) == :ok
    assert Names.subscribers(topic) == []
  end

  test "the tables outlive the process that opens them again" do
    assert Names.open() == :ok
    assert :ets.info(RateLimiter.Registry, :owner) == Process.whereis(:application_controller)
    assert :ets.info(RateLimiter.Subscribers, :owner) == Process.whereis(:application_controller)
  end
end
