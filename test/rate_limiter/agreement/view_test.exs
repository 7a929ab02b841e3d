defmodule RateLimiter.Agreement.ViewTest do
  # The action that follows from a view, case by case.
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Agreement.{Entry, Heartbeat, View}

  defp heartbeat(scale, group \\ "g"),
    do: %Heartbeat{node: "n #{scale}", group: group, scale: scale}

  defp entry(nodes, state \\ {:ok, :a_state}) do
    %Entry{
      epoch: 7,
      at_ms: 0,
      by: "n",
      nodes: nodes,
      decision: %Decision{scale: 0.4},
      state: state
    }
  end

  defp view(options) do
    struct!(
      %View{
        at_ms: 5_000,
        target: 4,
        stale?: false,
        epoch: 7,
        entry: entry(2),
        nodes: [heartbeat(1.0), heartbeat(0.4)],
        others: [],
        counters: %{},
        span: {4_000, 5_000}
      },
      options
    )
  end

  defp action(view, mine \\ []) do
    usual = %{epoch: 7, scale: 0.4, status: :agreed, urgent?: false, deferred: 0}
    View.action(view(view), Map.merge(usual, Map.new(mine)))
  end

  test "during a window, a node adopts a new step and otherwise waits" do
    assert action(target: nil) == :wait
    assert action([target: nil], epoch: 6) == :adopt
    assert action([target: nil], epoch: 0, status: :new) == :adopt
    # Another epoch counts, even a lower one.
    assert action([target: nil, epoch: 3], epoch: 6) == :adopt
    assert action([target: nil, epoch: 0, entry: nil], epoch: 6) == :wait
  end

  test "after a window, a node steps from the agreed state" do
    assert action([]) == {:step, :agreed}
    assert action([], epoch: 3, status: :alone) == {:step, :agreed}
    assert action([], epoch: 0, status: :new) == {:step, :agreed}
  end

  test "if no node has continued, the node with the lowest scale steps when all are back, and any node after three windows" do
    for alone <- [[stale?: true], [stale?: false]] do
      mine = [status: :alone]
      assert action(alone, mine) == {:step, :own}
      assert action(alone, mine ++ [scale: 0.5]) == :defer
      assert action(alone, mine ++ [scale: 0.5, deferred: 2]) == :defer
      assert action(alone, mine ++ [scale: 0.5, deferred: 3]) == {:step, :own}
      assert action(alone, mine ++ [scale: 0.5, urgent?: true]) == {:step, :own}
      assert action(alone ++ [entry: entry(3)], mine) == :defer
      assert action(alone ++ [entry: nil, epoch: 0], mine) == {:step, :own}
    end

    # In this window it is not yet known which nodes are back.
    assert action([stale?: true, target: nil], status: :alone) == :wait
    assert action([stale?: true, target: nil, epoch: 6], status: :alone) == :wait
  end

  test "a new node adopts the last step, however old" do
    assert action([stale?: true], epoch: 0, status: :new) == {:step, :agreed}
    assert action([stale?: true, target: nil], epoch: 0, status: :new) == :adopt
  end

  test "a new group starts from the lowest scale of other groups" do
    new = [epoch: 0, status: :new, scale: 1.0]
    none = [stale?: true, epoch: 0, entry: nil, nodes: [heartbeat(1.0)]]
    assert action(none, new) == {:step, :own}
    assert action(none ++ [others: [heartbeat(0.3, "h")]], new) == {:step, {:restart, 0.3}}

    assert action(none ++ [others: [heartbeat(0.3, "h")]], Keyword.put(new, :status, :alone)) ==
             {:step, :own}

    assert action(none ++ [others: [heartbeat(1.2, "h")]], new) == {:step, :own}
  end

  test "a node leaves an unreadable state to other nodes, and restarts from its scale if there are none" do
    unreadable = [entry: entry(2, :unreadable)]
    assert action(unreadable) == :wait
    assert action(unreadable, epoch: 6) == :adopt
    fresh = [epoch: 0, status: :new]
    assert action(unreadable ++ [stale?: true], fresh) == {:step, {:restart, 0.4}}
    assert action(unreadable ++ [stale?: true]) == {:step, :own}
  end

  test "an invalid reply is an error" do
    good = ["5000", "5", "4", 0, "7", "", [], []]
    assert {:ok, %View{target: 4, entry: nil, span: {5_000, 5_000}}} = View.read(good, "g")

    for at <- 0..7, bad <- [nil, "x", %{}, ["odd"]] do
      case View.read(List.replace_at(good, at, bad), "g") do
        :error -> :ok
        # The window is for debugging, and an invalid entry counts as none.
        {:ok, %View{entry: nil}} -> assert at in [1, 3, 5, 6, 7]
      end
    end

    for bad <- [nil, "OK", 1, [], ["5000"]], do: assert(View.read(bad, "g") == :error)
  end
end
