defmodule RateLimiter.Signals.BypassTest do
  # The budget of emergency calls.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Events, only: [listen: 1]

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.{Test, VSM}
  alias RateLimiter.VSM.{Gate, Tree}

  setup context do
    Test.start(
      vsm: [
        subsystems:
          context[:subsystems] ||
            [
              front: [limit: 10, per: :second, law: Fixed],
              back: [limit: 5, per: :minute, law: Fixed, dry_run: true]
            ]
      ]
    )
  end

  defp gate(name \\ :front), do: Tree.subsystem!(RateLimiter, name).gate

  test "the budget is one call per second, and one source gets a fifth of it" do
    {:error, :rate_limited, _} = VSM.check_subsystem_limit(:back, "a", cost: 6)
    {:ok, _} = VSM.check_subsystem_limit(:back, "a", cost: 5)

    assert {:ok, %{window: :bypass, max: 1}} =
             VSM.check_subsystem_limit(:back, "a", emergency: true)

    assert {:error, :rate_limited, %{window: :rate}} =
             VSM.check_subsystem_limit(:back, "b", emergency: true)

    Test.advance(:second)
    assert {:error, :rate_limited, _} = VSM.check_subsystem_limit(:back, "a", emergency: true)
    assert {:ok, %{window: :bypass}} = VSM.check_subsystem_limit(:back, "b", emergency: true)
    Test.advance({4, :second})
    assert {:ok, %{window: :bypass}} = VSM.check_subsystem_limit(:back, "a", emergency: true)
    assert VSM.subsystem_metrics().back.emergencies == 3
  end

  @tag subsystems: [all: [limit: 172, per: :second, law: Fixed]]
  test "the budget is 1 % of all limits, also if that is not an integer" do
    windows =
      for n <- 1..200 do
        {:ok, usage} = VSM.check_subsystem_limit(:all, n, emergency: true)
        Test.advance(50)
        usage.window
      end

    # 1.72 per second are one in 582 ms: a call each 50 ms gets one in 600 ms.
    assert %{bypass: 17} = Enum.frequencies(windows)
  end

  test "a call uses the normal limit when the budget is spent" do
    {:ok, _} = VSM.check_subsystem_limit(:front, "a", emergency: true)
    assert {:ok, %{window: :rate}} = VSM.check_subsystem_limit(:front, "a", emergency: true)
  end

  test "a call of any cost is admitted by the budget at most as often as its units allow" do
    {:ok, held} = Gate.enter(Tree.subsystem!(RateLimiter, :front), "holder", 1)

    for cost <- [0, 1, -1, 2] do
      Test.advance({20, :second})
      before = VSM.subsystem_metrics().front.emergencies
      # Without the budget no call passes, so that each one that runs has used it.
      Gate.set_guard(gate(), 1)

      ran =
        for n <- 1..20,
            match?({:ok, _}, VSM.run(:front, n, fn -> :ran end, cost: cost, emergency: true)),
            do: n

      assert length(ran) == if(cost in [0, 1], do: 1, else: 0)
      assert VSM.subsystem_metrics().front.emergencies - before == length(ran)
    end

    Gate.finish(held, :ok)
  end

  test "an emergency call is not shed, guarded or scaled" do
    Gate.set_open(gate(), 0.0)
    Gate.set_guard(gate(), 1)
    Gate.set_scale(Tree.subsystem!(RateLimiter, :front).limiter, 0.1)
    in_flight = fn -> VSM.subsystem_metrics().front.in_flight end

    inner = fn ->
      Test.advance({5, :second})
      VSM.run(:front, "b", in_flight, emergency: true)
    end

    assert VSM.run(:front, "a", inner, emergency: true) == {:ok, {:ok, 2}}
    assert in_flight.() == 0
  end

  test "each emergency call is an event without an id, and no other call is" do
    listen([[:rate_limiter, :algedonic, :bypass]])
    VSM.check_subsystem_limit(:front, "ann")
    refute_received {:event, _, _, _}
    VSM.run(:front, "ann", fn -> :ok end, emergency: true)
    VSM.check_subsystem_limit(:front, "ann", emergency: true)

    for result <- [:granted, :spent] do
      assert_received {:event, _, %{cost: 1, remaining: 0},
                       %{result: ^result, subsystem: :front, id_hash: <<_::16-bytes>>}}
    end
  end
end
