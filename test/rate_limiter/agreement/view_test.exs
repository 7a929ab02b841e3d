defmodule RateLimiter.Agreement.ViewTest do
  # What a node does with what it hears, case by case.
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

  test "while a window lasts: what is new is taken up, else nothing is to be done" do
    assert action(target: nil) == :wait
    assert action([target: nil], epoch: 6) == :adopt
    assert action([target: nil], epoch: 0, status: :new) == :adopt
    # Another epoch, even a lower one, is what all go by.
    assert action([target: nil, epoch: 3], epoch: 6) == :adopt
    assert action([target: nil, epoch: 0, entry: nil], epoch: 6) == :wait
  end

  test "at its end: a step from what is agreed" do
    assert action([]) == {:step, :agreed}
    assert action([], epoch: 3, status: :alone) == {:step, :agreed}
    assert action([], epoch: 0, status: :new) == {:step, :agreed}
  end

  test "where nobody went on: from the lowest scale, when all are there, and after three windows from any" do
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

    # In the window before it is known who is back.
    assert action([stale?: true, target: nil], status: :alone) == :wait
    assert action([stale?: true, target: nil, epoch: 6], status: :alone) == :wait
  end

  test "a node that has just come takes up what there is, however old" do
    assert action([stale?: true], epoch: 0, status: :new) == {:step, :agreed}
    assert action([stale?: true, target: nil], epoch: 0, status: :new) == :adopt
  end

  test "a group that has never agreed begins at the lowest scale that others hold" do
    new = [epoch: 0, status: :new, scale: 1.0]
    none = [stale?: true, epoch: 0, entry: nil, nodes: [heartbeat(1.0)]]
    assert action(none, new) == {:step, :own}
    assert action(none ++ [others: [heartbeat(0.3, "h")]], new) == {:step, {:restart, 0.3}}

    assert action(none ++ [others: [heartbeat(0.3, "h")]], Keyword.put(new, :status, :alone)) ==
             {:step, :own}

    assert action(none ++ [others: [heartbeat(1.2, "h")]], new) == {:step, :own}
  end

  test "a state that this node cannot read is left to those who can; where there are none, it begins anew from its scale" do
    unreadable = [entry: entry(2, :unreadable)]
    assert action(unreadable) == :wait
    assert action(unreadable, epoch: 6) == :adopt
    fresh = [epoch: 0, status: :new]
    assert action(unreadable ++ [stale?: true], fresh) == {:step, {:restart, 0.4}}
    assert action(unreadable ++ [stale?: true]) == {:step, :own}
  end

  test "what is no reply is none" do
    good = ["5000", "5", "4", 0, "7", "", [], []]
    assert {:ok, %View{target: 4, entry: nil, span: {5_000, 5_000}}} = View.read(good, "g")

    for at <- 0..7, bad <- [nil, "x", %{}, ["odd"]] do
      case View.read(List.replace_at(good, at, bad), "g") do
        :error -> :ok
        # The window is for people, and a record that is none counts as none.
        {:ok, %View{entry: nil}} -> assert at in [1, 3, 5, 6, 7]
      end
    end

    for bad <- [nil, "OK", 1, [], ["5000"]], do: assert(View.read(bad, "g") == :error)
  end
end
