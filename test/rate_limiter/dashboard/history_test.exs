defmodule RateLimiter.Dashboard.HistoryTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Dashboard.History

  # A node whose readings the test chooses, and counts.
  defp start(readings, options \\ []) do
    {:ok, agent} = Agent.start_link(fn -> {readings, 0} end)

    read = fn ->
      Agent.get_and_update(agent, fn
        {[last], count} -> {last, {[last], count + 1}}
        {[next | rest], count} -> {next, {rest, count + 1}}
      end)
    end

    options = Keyword.merge([read: read, interval_ms: 86_400_000], options)
    {start_supervised!({History, options}), agent}
  end

  defp reads(agent), do: Agent.get(agent, &elem(&1, 1))

  defp snapshot(seconds, limiters) do
    limiters =
      for {name, checks, denials} <- limiters,
          do: %{name: name, checks: checks, denials: denials, keys: 0, scale: 1.0, windows: []}

    instance = %{
      name: "I",
      limiters: limiters,
      subsystems: [],
      sensors: %{},
      redis: nil,
      keys: 0,
      memory: 0
    }

    %{
      node: :shop@db1,
      at_ms: seconds * 1_000,
      date: ~U[2026-01-01 00:00:00Z],
      instances: [instance]
    }
  end

  defp read_again(history) do
    send(history, :read)
    {:ok, view} = History.view(history)
    view
  end

  test "nothing is read before the first look, and one look reads once" do
    {history, agent} = start([snapshot(0, api: {0, 0}) |> Map.put(:instances, [])])
    assert reads(agent) == 0
    {:ok, _view} = History.view(history)
    {:ok, _view} = History.view(history)
    assert reads(agent) == 1
  end

  test "points are what was admitted and denied per second between two readings" do
    {history, _agent} =
      start([
        snapshot(0, [{:api, 100, 10}, {:web, 0, 0}]),
        snapshot(2, [{:api, 140, 20}, {:web, 8, 8}]),
        snapshot(4, [{:api, 140, 20}, {:web, 8, 8}])
      ])

    {:ok, first} = History.view(history)
    assert [%{history: [], rates: nil}] = first.instances
    read_again(history)
    view = read_again(history)
    assert view.ages == [2.0, 0.0]
    [instance] = view.instances
    assert instance.history == [{15, 9}, {0, 0}]

    assert for(limiter <- instance.limiters, do: {limiter.name, limiter.history}) == [
             api: [{15, 5}, {0, 0}],
             web: [{0, 4}, {0, 0}]
           ]
  end

  test "a limiter that was added, or counts anew, has a gap and no negative point" do
    {history, _agent} =
      start([
        snapshot(0, [{:api, 100, 0}]),
        snapshot(2, [{:api, 10, 0}, {:web, 50, 0}]),
        snapshot(4, [{:api, 20, 0}, {:web, 60, 0}])
      ])

    {:ok, _view} = History.view(history)
    read_again(history)
    [instance] = read_again(history).instances

    assert for(limiter <- instance.limiters, do: limiter.history) == [
             [nil, {5, 0}],
             [nil, {5, 0}]
           ]
  end

  test "a node that does not reply is shown as it was, with the problem, until it replies" do
    {history, _agent} = start([snapshot(0, []), {:error, "no reply"}, snapshot(9, [])])

    {:ok, %{problem: nil}} = History.view(history)
    assert %{problem: "no reply", node: :shop@db1} = read_again(history)
    assert %{problem: nil} = read_again(history)
  end

  test "a node that never replied is an error" do
    {history, _agent} = start([{:error, "no reply"}])
    assert History.view(history) == {:error, "no reply"}
  end

  test "the history and the view are bounded, and keep the most denied" do
    many = for n <- 1..700, do: {:"limiter_#{n}", n, n}
    later = for {name, checks, denials} <- many, do: {name, checks + denials, denials + denials}
    readings = [snapshot(0, many) | for(n <- 1..400, do: snapshot(n, later))]
    {history, _agent} = start(readings)
    {:ok, _view} = History.view(history)
    view = read_again(history)
    [instance] = view.instances
    assert {length(instance.limiters), instance.hidden} == {100, 600}
    assert %{name: :limiter_700, history: [{0, 700}]} = hd(instance.limiters)
    # The sum is of all, also of those that are left out.
    assert instance.history == [{0, div(700 * 701, 2)}]

    for _ <- 1..300, do: send(history, :read)
    {:ok, view} = History.view(history)
    assert length(view.ages) == 149
  end

  test "without a look for a while, nothing is read or kept" do
    {history, agent} = start([snapshot(0, [{:api, 1, 0}])], interval_ms: 1, idle_ms: 50)

    {:ok, _view} = History.view(history)
    eventually(fn -> :sys.get_state(history).samples == [] end)
    assert reads(agent) >= 1
    # Hibernated, and without a timer that would wake it.
    assert {:current_function, {module, function, _arity}} =
             Process.info(history, :current_function)

    assert {module, function} in [{:erlang, :hibernate}, {:gen_server, :loop_hibernate}]

    assert %{seen_ms: nil, now: nil} = :sys.get_state(history)
    {:ok, %{ages: []}} = History.view(history)
  end
end
