defmodule RateLimiter.Agreement.MeetingTest do
  # What a node does with what it hears, case by case.
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Agreement.{Entry, Heartbeat, View}

  defp presence(scale, group \\ "g"),
    do: %Heartbeat{node: "n #{scale}", group: group, scale: scale}

  defp record(nodes, state \\ {:ok, :a_state}) do
    %Entry{
      epoch: 7,
      at_ms: 0,
      by: "n",
      nodes: nodes,
      decision: %Decision{scale: 0.4},
      state: state
    }
  end

  defp meeting(options) do
    struct!(
      %View{
        at_ms: 5_000,
        target: 4,
        silent?: false,
        epoch: 7,
        record: record(2),
        nodes: [presence(1.0), presence(0.4)],
        others: [],
        tally: %{},
        span: {4_000, 5_000}
      },
      options
    )
  end

  defp verdict(meeting, mine \\ []) do
    usual = %{epoch: 7, scale: 0.4, standing: :agreed, urgent?: false, deferred: 0}
    View.verdict(meeting(meeting), Map.merge(usual, Map.new(mine)))
  end

  test "while a window lasts: what is new is taken up, else nothing is to be done" do
    assert verdict(target: nil) == :wait
    assert verdict([target: nil], epoch: 6) == :adopt
    assert verdict([target: nil], epoch: 0, standing: :fresh) == :adopt
    # Another epoch, even a lower one, is what all go by.
    assert verdict([target: nil, epoch: 3], epoch: 6) == :adopt
    assert verdict([target: nil, epoch: 0, record: nil], epoch: 6) == :wait
  end

  test "at its end: a step from what is agreed" do
    assert verdict([]) == {:step, :theirs}
    assert verdict([], epoch: 3, standing: :alone) == {:step, :theirs}
    assert verdict([], epoch: 0, standing: :fresh) == {:step, :theirs}
  end

  test "where nobody went on: from the lowest scale, when all are there, and after three windows from any" do
    for alone <- [[silent?: true], [silent?: false]] do
      mine = [standing: :alone]
      assert verdict(alone, mine) == {:step, :own}
      assert verdict(alone, mine ++ [scale: 0.5]) == :defer
      assert verdict(alone, mine ++ [scale: 0.5, deferred: 2]) == :defer
      assert verdict(alone, mine ++ [scale: 0.5, deferred: 3]) == {:step, :own}
      assert verdict(alone, mine ++ [scale: 0.5, urgent?: true]) == {:step, :own}
      assert verdict(alone ++ [record: record(3)], mine) == :defer
      assert verdict(alone ++ [record: nil, epoch: 0], mine) == {:step, :own}
    end

    # In the window before it is known who is back.
    assert verdict([silent?: true, target: nil], standing: :alone) == :wait
    assert verdict([silent?: true, target: nil, epoch: 6], standing: :alone) == :wait
  end

  test "a node that has just come takes up what there is, however old" do
    assert verdict([silent?: true], epoch: 0, standing: :fresh) == {:step, :theirs}
    assert verdict([silent?: true, target: nil], epoch: 0, standing: :fresh) == :adopt
  end

  test "a group that has never agreed begins at the lowest scale that others hold" do
    new = [epoch: 0, standing: :fresh, scale: 1.0]
    none = [silent?: true, epoch: 0, record: nil, nodes: [presence(1.0)]]
    assert verdict(none, new) == {:step, :own}
    assert verdict(none ++ [others: [presence(0.3, "h")]], new) == {:step, {:anew, 0.3}}

    assert verdict(none ++ [others: [presence(0.3, "h")]], Keyword.put(new, :standing, :alone)) ==
             {:step, :own}

    assert verdict(none ++ [others: [presence(1.2, "h")]], new) == {:step, :own}
  end

  test "a state that this node cannot read is left to those who can; where there are none, it begins anew from its scale" do
    unreadable = [record: record(2, :unreadable)]
    assert verdict(unreadable) == :wait
    assert verdict(unreadable, epoch: 6) == :adopt
    fresh = [epoch: 0, standing: :fresh]
    assert verdict(unreadable ++ [silent?: true], fresh) == {:step, {:anew, 0.4}}
    assert verdict(unreadable ++ [silent?: true]) == {:step, :own}
  end

  test "what is no reply is none" do
    good = ["5000", "5", "4", 0, "7", "", [], []]
    assert {:ok, %View{target: 4, record: nil, span: {5_000, 5_000}}} = View.read(good, "g")

    for at <- 0..7, bad <- [nil, "x", %{}, ["odd"]] do
      case View.read(List.replace_at(good, at, bad), "g") do
        :error -> :ok
        # The window is for people, and a record that is none counts as none.
        {:ok, %View{record: nil}} -> assert at in [1, 3, 5, 6, 7]
      end
    end

    for bad <- [nil, "OK", 1, [], ["5000"]], do: assert(View.read(bad, "g") == :error)
  end
end
