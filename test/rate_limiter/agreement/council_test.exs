defmodule RateLimiter.Agreement.CouncilTest do
  # The agreement in any order of nodes and with lost replies: the real scripts, with a clock of the test.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories

  alias RateLimiter.Adaptive.Observation
  alias RateLimiter.Support.{Council, Redis}

  @moduletag :slow

  setup_all do
    %{server: Redis.start!()}
  end

  # In the middle of a window, so that a test can name windows.
  @start 1_000_000_500

  defp names(count), do: for(n <- 1..count, do: "node #{n}")

  defp asked(count), do: %Observation{limit: 100.0, asked: count}

  defp hget(council, key, field),
    do: String.to_integer(Redis.command!(council.server, ["HGET", key, field]) || "0")

  # Has all nodes take a turn in each window, in random order. Returns the number of steps in each window.
  defp windows(council, nodes, windows, turn \\ &Council.turn/3) do
    Enum.map_reduce(windows, nodes, fn window, nodes ->
      at = @start + window * Council.span()
      order = nodes |> Map.keys() |> Enum.shuffle() |> Enum.with_index()

      {done, nodes} =
        Enum.map_reduce(order, nodes, fn {name, n}, nodes ->
          {done, node} = turn.(council, nodes[name], at + n * 10)
          {done, %{nodes | name => node}}
        end)

      {Enum.count(done, &match?({:step, _from}, &1)), nodes}
    end)
  end

  defp nodes(council, count), do: Map.new(names(count), &{&1, Council.node(council, &1)})
  defp scales(nodes), do: nodes |> Map.values() |> Enum.map(& &1.scale) |> Enum.uniq()
  defp epochs(nodes), do: nodes |> Map.values() |> Enum.map(& &1.epoch) |> Enum.uniq()

  test "a node that stays away is counted for as long as it said, and two windows more",
       context do
    council = Council.new(context.server)
    [here, there] = for name <- names(2), do: Council.node(council, name)
    at = fn window -> @start + window * Council.span() end
    Council.meet(council, here, asked(0), at.(0), false, 10)

    for {window, nodes} <- [{0, 2}, {5, 2}, {12, 2}, {13, 1}] do
      assert length(Council.meet(council, there, asked(0), at.(window)).nodes) == nodes
    end

    # From a server whose clock was ahead.
    Council.meet(council, here, asked(0), at.(30), false, 10)
    assert length(Council.meet(council, there, asked(0), at.(14)).nodes) == 1
  end

  test "any set of live nodes takes exactly one step per window, and all adopt it at their next turn",
       %{
         server: server
       } do
    for_all seed, 20 do
      :rand.seed(:exsss, seed)
      council = Council.new(server)

      saw = fn council, node, at ->
        Council.turn(council, node, at, observation: observation())
      end

      {steps, nodes} = windows(council, nodes(council, pick([1, 2, 3, 5])), 0..8, saw)
      # Before the first window has ended, there is nothing to step.
      assert steps == [0 | List.duplicate(1, 8)]

      # All nodes but one or two leave, and a new one joins.
      left = nodes |> Enum.shuffle() |> Enum.take(pick([1, 2])) |> Map.new()
      left = Map.put(left, "late", Council.node(council, "late"))
      {steps, left} = windows(council, left, 9..16, saw)
      assert steps == List.duplicate(1, 8)

      {[0], left} = windows(council, left, [16])
      assert [_one] = scales(left)
      assert epochs(left) == [16]
    end
  end

  test "in any interleaving with lost replies, no window has two steps and each counter is in exactly one step",
       %{
         server: server
       } do
    for_all seed, 25 do
      :rand.seed(:exsss, seed)
      council = Council.new(server)

      begin = %{
        now: @start,
        met: @start,
        nodes: nodes(council, 3),
        pending: %{},
        contributed: 0,
        steps: []
      }

      done = Enum.reduce(1..120, begin, fn _, state -> event(council, state) end)

      {windows, epochs} = done.steps |> Enum.map(&{&1.window, &1.epoch}) |> Enum.unzip()
      assert windows == windows |> Enum.uniq() |> Enum.sort(:desc)
      assert epochs == Enum.to_list(length(epochs)..1//-1)

      [_nodes, _agreed, open, closed] = Council.node(council, "any").keys
      stepped = done.steps |> Enum.map(& &1.asked) |> Enum.sum()
      waiting = hget(council, open, "asked") + hget(council, closed, "asked")
      assert stepped + waiting == done.contributed
      assert stepped > 0
    end
  end

  # A random event: time passes, a node meets, commits its step, or loses the reply.
  defp event(council, state) do
    name = pick(names(3))

    case {pick([:time, :time, :meet, :meet, :commit, :commit, :commit, :lose]),
          state.pending[name]} do
      # Contributions from before a long pause are dropped.
      {:time, _} when state.now - state.met < 2_000 ->
        %{state | now: state.now + :rand.uniform(700)}

      {:meet, nil} ->
        contribute(council, state, name)

      {:commit, {view, entry}} ->
        commit(council, state, name, view, entry)

      {:lose, _} ->
        %{state | pending: Map.delete(state.pending, name)}

      {_what, _} ->
        state
    end
  end

  defp contribute(council, state, name) do
    {node, count, urgent?} = {state.nodes[name], :rand.uniform(9), pick([true, false, false])}
    view = Council.meet(council, node, asked(count), state.now, urgent?)
    state = %{state | contributed: state.contributed + count, met: state.now}

    case Council.action(node, view, urgent?) do
      {:step, from} ->
        entry = Council.step(council, node, view, from)
        put_in(state.pending[name], {view, entry})

      :adopt ->
        put_in(state.nodes[name], Council.adopt(node, view.entry))

      :defer ->
        put_in(state.nodes[name].deferred, node.deferred + 1)

      :wait ->
        state
    end
  end

  defp commit(council, state, name, view, entry) do
    state = %{state | pending: Map.delete(state.pending, name)}

    case Council.commit(council, state.nodes[name], view, entry) do
      {:committed, node} ->
        step = %{window: view.target, epoch: entry.epoch, asked: view.counters["asked"] || 0}
        %{put_in(state.nodes[name], node) | steps: [step | state.steps]}

      {:lost, entry} ->
        put_in(state.nodes[name], Council.adopt(state.nodes[name], entry))
    end
  end

  test "a step does not depend on the order of contributions", %{
    server: server
  } do
    for_all seed, 15 do
      saw = history(seed, 4)
      first = asked(1)

      step = fn order ->
        council = Council.new(server)

        for {{seen, n}, at} <- Enum.with_index(order),
            do: Council.meet(council, Council.node(council, "#{n}"), seen, @start + at)

        node = Council.node(council, "last")
        view = Council.meet(council, node, first, @start + 1_000)
        %{Council.step(council, node, view, :own) | epoch: 1}
      end

      numbered = Enum.with_index(saw)
      # The window opens with the first contribution, so it stays first.
      [head | tail] = numbered
      assert step.(numbered) == step.([head | Enum.reverse(tail)])
      assert step.(numbered) == step.([head | Enum.shuffle(tail)])
    end
  end

  test "limit and calls in flight are the sum of the live nodes", %{server: server} do
    council = Council.new(server)
    [one, two, three] = for name <- names(3), do: Council.node(council, name)
    Council.meet(council, one, %{asked(5) | in_flight: 7, pain: %{a: 0.2}}, @start)
    Council.meet(council, two, %{asked(6) | in_flight: 8, pain: %{a: 0.5, b: 0.1}}, @start + 100)
    view = Council.meet(council, three, asked(7), @start + 1_000)

    assert %{limit: 300.0, asked: 18, in_flight: 15, pain: %{a: 0.5, b: 0.1}, elapsed_ms: 2_000} =
             Council.observation(view)

    # A node that did not meet for two windows is gone, with its levels.
    Council.meet(council, three, asked(1), @start + 2_000)
    Council.meet(council, three, asked(1), @start + 3_000)
    view = Council.meet(council, three, asked(1), @start + 4_000)
    assert %{limit: 100.0, in_flight: 0, pain: pain} = Council.observation(view)
    assert pain == %{}
  end

  test "urgent pain has the present window stepped once, before its end",
       %{
         server: server
       } do
    council = Council.new(server)
    {_steps, nodes} = windows(council, nodes(council, 2), 0..2)
    node = nodes["node 1"]
    hurt = %{asked(1) | pain: %{probe: 1.0}}
    at = @start + 2_400

    assert {{:step, :agreed}, %{scale: scale} = node} =
             Council.turn(council, node, at, observation: hurt, urgent?: true)

    assert scale < 1.0
    assert {:wait, node} = Council.turn(council, node, at + 10, observation: hurt, urgent?: true)
    assert {:wait, node} = Council.turn(council, node, @start + 3_000)
    assert {{:step, :agreed}, _node} = Council.turn(council, node, @start + 4_000)
  end

  describe "nodes that were cut off" do
    test "stay between floor and ceiling alone, and agree on one scale afterwards", %{
      server: server
    } do
      for_all seed, 25 do
        :rand.seed(:exsss, seed)
        council = Council.new(server, floor: 0.2, ceiling: 1.5)

        within = fn node ->
          assert node.scale >= 0.2 and node.scale <= 1.5
          node
        end

        # Each node may be cut off for some windows, and has its own observations.
        off = Map.new(names(3), &{&1, pick([0..-1//1, 3..5, 3..9, 2..14])})

        turn = fn council, node, at ->
          if div(at - @start, Council.span()) in off[node.name],
            do: {:alone, within.(Council.alone(council, node, observation(), at))},
            else:
              council
              |> Council.turn(node, at, observation: observation())
              |> then(fn {done, node} -> {done, within.(node)} end)
        end

        {steps, nodes} = windows(council, nodes(council, 3), 0..14, turn)
        assert Enum.all?(steps, &(&1 <= 1))
        # When all are back, nodes wait at most this long for the node with the lowest scale.
        {_steps, nodes} = windows(council, nodes, 15..20)
        {[0], nodes} = windows(council, nodes, [20])
        assert [_one] = scales(nodes)
        assert [_one] = epochs(nodes)
      end
    end

    test "adopt what the other nodes agreed on meanwhile", %{server: server} do
      council = Council.new(server)
      {_steps, nodes} = windows(council, nodes(council, 3), 0..2)
      {lonely, others} = Map.pop!(nodes, "node 2")
      lonely = Enum.reduce(3..9, lonely, &alone(council, &2, &1, 0.8))
      assert lonely.scale < 0.5

      {_steps, others} = windows(council, others, 3..9)

      assert {:adopt, %{scale: 1.0, status: :agreed}} =
               Council.turn(council, lonely, @start + 9_400)

      assert scales(others) == [1.0]
    end

    test "continue from the lowest scale if all nodes were cut off", %{server: server} do
      council = Council.new(server)
      {_steps, nodes} = windows(council, nodes(council, 3), 0..2)

      nodes =
        for {name, node} <- nodes, into: %{} do
          pain = if name == "node 3", do: 0.8, else: 0.0
          {name, Enum.reduce(3..9, node, &alone(council, &2, &1, pain))}
        end

      %{"node 3" => %{scale: lowest}} = nodes
      assert lowest < 0.5
      {[0, 1], nodes} = windows(council, nodes, 10..11)
      {[1], nodes} = windows(council, nodes, [12])
      assert [scale] = scales(nodes)
      assert_in_delta scale, lowest, 0.02
    end

    test "do not wait forever for nodes that stay away", %{server: server} do
      council = Council.new(server)
      {_steps, nodes} = windows(council, nodes(council, 3), 0..2)
      node = Enum.reduce(3..9, nodes["node 1"], &alone(council, &2, &1, 0.0))
      {steps, _nodes} = windows(council, %{"node 1" => node}, 10..15)
      assert steps == [0, 0, 0, 0, 1, 1]
    end
  end

  describe "keys in Redis" do
    test "may be lost: the nodes continue with the next epoch", %{server: server} do
      council = Council.new(server)
      {_steps, nodes} = windows(council, nodes(council, 2), 0..5)
      for key <- nodes["node 1"].keys, do: Redis.command!(server, ["DEL", key])
      {[0, 1, 1], nodes} = windows(council, nodes, 6..8)
      {[0], nodes} = windows(council, nodes, [8])
      # No epoch is used twice, so no node takes an older step for a newer one.
      assert epochs(nodes) == [7]
    end

    test "survive a clock that goes back", %{server: server} do
      council = Council.new(server)
      {_steps, nodes} = windows(council, nodes(council, 2), 0..3)
      {[0, 1, 1, 1], _nodes} = windows(council, nodes, -3600..-3597)
    end

    test "expire, have the prefix, and are in one slot", %{server: server} do
      council = Council.new(server)
      {_steps, nodes} = windows(council, nodes(council, 2), 0..2)
      keys = nodes["node 1"].keys
      # A node that takes a step and is lost.
      Council.meet(council, nodes["node 1"], asked(1), @start + 3_000)

      for key <- keys do
        assert "rate_limiter:{!vsm:" <> _ = key
        assert Redis.command!(server, ["PTTL", key]) > 0
      end

      tags = for key <- keys, do: ~r/\{.*?\}/ |> Regex.run(key) |> hd()
      assert [_one] = Enum.uniq(tags)
    end
  end

  test "nodes with another configuration agree separately, from the lowest scale of all nodes",
       %{
         server: server
       } do
    council = Council.new(server)

    hurt = fn council, node, at ->
      Council.turn(council, node, at, observation: %{asked(1) | pain: %{p: 0.8}})
    end

    {_steps, old} = windows(council, nodes(council, 2), 0..8, hurt)
    assert [lower] = old |> Map.values() |> Enum.map(& &1.scale) |> Enum.uniq() |> Enum.take(1)
    assert lower < 0.7

    new = %{"new" => Council.node(council, "new", "another")}
    {[0], new} = windows(council, new, [9])
    {[1], _old} = windows(council, old, [9])
    {[1], new} = windows(council, new, [10])
    assert_in_delta new["new"].scale, lower, 0.2
    assert new["new"].epoch == 1
  end

  defp alone(council, node, window, pain) do
    at = @start + window * Council.span()
    Council.alone(council, node, %{asked(1) | pain: %{probe: pain}}, at)
  end
end
