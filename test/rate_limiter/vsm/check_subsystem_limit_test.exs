defmodule RateLimiter.VSM.CheckSubsystemLimitTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Events, only: [listen: 1]

  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.{Test, Usage, VSM}
  alias RateLimiter.VSM.{Gate, Tree}

  setup context do
    Test.start(
      vsm: [
        subsystems:
          context[:subsystems] ||
            [
              front: [limit: 10, per: :second, law: Fixed],
              back: [limit: 5, per: :minute, law: Fixed, dry_run: true],
              quiet: [limit: 5, per: :minute, law: Fixed, events: :none]
            ]
      ]
    )
  end

  defp gate(name \\ :front), do: Tree.subsystem!(RateLimiter, name).gate

  describe "check_subsystem_limit/3" do
    test "a subsystem has one bucket for all ids" do
      for n <- 1..10, do: assert({:ok, _} = VSM.check_subsystem_limit(:front, {:source, n}))
      assert {:error, :rate_limited, usage} = VSM.check_subsystem_limit(:front, "another")

      assert %Usage{limiter: :front, window: :rate, max: 10, remaining: 0, retry_after_ms: 100} =
               usage
    end

    @names ~w(all source emergency instance clock config signals agreement gate loops sensors)a
    @tag subsystems: for(name <- @names, do: {name, [limit: 9, per: :second, law: Fixed]})
    test "a subsystem may have the name of an internal row" do
      # A term without an owner would be freed here.
      :erlang.garbage_collect()
      for name <- @names, do: {:ok, 1} = VSM.run(name, "a", fn -> 1 end)
      for name <- @names, do: {:ok, _} = VSM.check_subsystem_limit(name, name, emergency: true)
      Test.advance(:second)
      assert map_size(VSM.subsystem_metrics()) == length(@names)
    end

    test "a denied call is admitted at retry_after_ms and not before" do
      {:ok, _} = VSM.check_subsystem_limit(:back, "a", cost: 5)
      {:error, :rate_limited, %{retry_after_ms: wait}} = VSM.check_subsystem_limit(:back, "a")
      Test.advance(wait - 1)
      assert {:error, :rate_limited, %{retry_after_ms: 1}} = VSM.check_subsystem_limit(:back, "a")
      Test.advance(1)
      assert {:ok, _} = VSM.check_subsystem_limit(:back, "a")
    end

    test "costs count as for check_and_track/4" do
      assert {:ok, %{remaining: 3}} = VSM.check_subsystem_limit(:front, "a", cost: 7)
      assert {:ok, %{remaining: 3}} = VSM.check_subsystem_limit(:front, "a", cost: 0)

      for cost <- [-1, 11, 1_000_000_000_000_000_000_000] do
        assert {:error, :rate_limited, %{cost: ^cost, retry_after_ms: :infinity}} =
                 VSM.check_subsystem_limit(:front, "a", cost: cost)
      end
    end

    test "calls that the gate sheds consume nothing" do
      Gate.set_open(gate(), 0.5)
      answers = for _ <- 1..10, do: VSM.check_subsystem_limit(:front, "a")
      assert Enum.count(answers, &match?({:ok, _}, &1)) == 5

      assert {:error, :rate_limited,
              %Usage{window: :gate, max: 10, next_after_ms: 1_000, retry_after_ms: 1_000}} =
               Enum.find(answers, &match?({:error, _, _}, &1))

      assert %{shed: 5, asked: 10, usage: %{current: 5}} = VSM.subsystem_metrics().front
    end

    test "events of calls contain no id" do
      listen([[:rate_limiter, :check], [:rate_limiter, :violation]])
      {:ok, _} = VSM.check_subsystem_limit(:front, "ann")

      assert_received {:event, [:rate_limiter, :check], _,
                       %{limiter: :front, window: :rate, result: :allowed}}

      {:error, :rate_limited, _} = VSM.check_subsystem_limit(:front, "ann", cost: 11)

      assert_received {:event, [:rate_limiter, :violation], _,
                       %{limiter: :front, id_hash: <<_::16-bytes>>}}
    end

    test "with events: :none no denial emits a check event" do
      listen([[:rate_limiter, :check], [:rate_limiter, :violation]])
      {:error, :rate_limited, %{window: :rate}} = VSM.check_subsystem_limit(:quiet, "a", cost: 9)
      Gate.set_guard(gate(:quiet), 1)

      {:ok, {:error, :rate_limited, %{window: :in_flight}}} =
        VSM.run(:quiet, "a", fn -> VSM.run(:quiet, "a", fn -> flunk("ran") end) end)

      Gate.set_open(gate(:quiet), 0.0)
      for _ <- 1..2, do: VSM.check_subsystem_limit(:quiet, "a")
      for _ <- 1..3, do: assert_received({:event, [:rate_limiter, :violation], _, _})
      refute_received {:event, [:rate_limiter, :check], _, _}
    end

    test "invalid calls raise and name what is expected" do
      for {message, call} <- [
            {"unknown subsystem :frnt of RateLimiter, did you mean :front? Known subsystems: :front, :back and :quiet",
             fn -> VSM.check_subsystem_limit(:frnt, "a") end},
            {"id must not be nil, because all callers without an id would share one limit",
             fn -> VSM.check_subsystem_limit(:front, nil) end},
            {"expected an id (a binary, an integer, an atom other than nil, or a tuple or list of these), got: %{}",
             fn -> VSM.run(:front, %{}, fn -> :never end) end},
            {"cost: expected an integer, got: 1.5",
             fn -> VSM.check_subsystem_limit(:front, "a", cost: 1.5) end},
            {"options: unknown option :cots, did you mean :cost?",
             fn -> VSM.check_subsystem_limit(:front, "a", cots: 1) end},
            {"no instance :unknown is running on this node, running instances: RateLimiter",
             fn -> VSM.check_subsystem_limit(:front, "a", instance: :unknown) end},
            {"expected a zero-arity function, got: :work", fn -> VSM.run(:front, "a", :work) end},
            {"expected a zero-arity function, got: #Function<",
             fn -> VSM.run(:front, "a", fn _ -> :never end, cost: 2) end}
          ] do
        assert Exception.message(catch_error(call.())) =~ message
      end
    end
  end
end
