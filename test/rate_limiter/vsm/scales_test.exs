defmodule RateLimiter.VSM.ScalesTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.{Test, VSM}
  alias RateLimiter.Adaptive.Fixed
  alias RateLimiter.VSM.{Gate, Scales, Subsystem, Tree}

  defp scales,
    do: Map.new(VSM.subsystem_metrics(), fn {name, %{scale: scale}} -> {name, scale} end)

  defp subsystem(name), do: Tree.subsystem!(RateLimiter, name)

  defp put(name, scale) do
    subsystem = subsystem(name)
    Subsystem.put_scale(subsystem, scale)
    Scales.apply(subsystem.table, subsystem)
  end

  defp demand(name, demand), do: Subsystem.put_need(subsystem(name), demand / 1)

  describe "apply/2 in a tree" do
    setup do
      Test.start(
        vsm: [
          subsystems: [
            top: [limit: 100, per: :second, law: Fixed],
            left: [limit: 100, per: :second, law: Fixed, parent: :top],
            right: [limit: 100, per: :second, law: Fixed, parent: :top],
            leaf: [limit: 100, per: :second, law: Fixed, parent: :left]
          ]
        ]
      )
    end

    test "puts the minimum of a subsystem and its ancestors on each limit, not their product" do
      put(:top, 0.5)
      put(:left, 0.6)
      put(:leaf, 0.8)
      assert scales() == %{top: 0.5, left: 0.5, right: 0.5, leaf: 0.5}
      put(:left, 0.2)
      assert scales() == %{top: 0.5, left: 0.2, right: 0.5, leaf: 0.2}
      put(:top, 1.0)
      assert scales() == %{top: 1.0, left: 0.2, right: 1.0, leaf: 0.2}
      put(:left, 1.0)
      assert scales() == %{top: 1.0, left: 1.0, right: 1.0, leaf: 0.8}
    end
  end

  describe "apply/2 with a shared capacity" do
    setup do
      Test.start(
        vsm: [
          subsystems: [
            db: [limit: 100, per: :second, law: Fixed, shared: true],
            s1: [limit: 100, per: :second, law: Fixed, parent: :db, priority: 1],
            s4: [limit: 20, per: :second, law: Fixed, parent: :db, priority: 3],
            s5: [limit: 20, per: :second, law: Fixed, parent: :db, priority: 5],
            below: [limit: 100, per: :second, law: Fixed, parent: :s1]
          ]
        ]
      )

      for {name, demand} <- [s1: 80, s4: 12, s5: 10], do: demand(name, demand)
      :ok
    end

    test "at a quarter of the capacity gives the most important what it needs, and the rest to the others" do
      put(:db, 0.25)
      assert %{db: 0.25, s5: s5, s4: s4, s1: s1} = scales()

      # Of 25, s5 gets its demand, s1 its floor, and s4 the rest of its demand.
      assert 20 * s5 >= 10
      assert_in_delta 100 * s1, 10, 0.001
      assert_in_delta 20 * s4, 25 - 10 - 20 * s5, 0.001
    end

    test "keeps a child's own lower scale" do
      put(:s5, 0.3)
      put(:db, 0.5)
      assert %{s5: 0.3} = scales()
    end

    test "never divides more than the capacity" do
      for scale <- [0.15, 0.2, 0.33, 0.5, 0.9, 1.0] do
        put(:db, scale)
        %{s1: s1, s4: s4, s5: s5} = scales()
        assert 100 * s1 + 20 * s4 + 20 * s5 <= 100 * scale + 0.001, "at #{scale}"
      end
    end

    test "counts a child's calls in the parent's guard, with room left for more important children" do
      whole = subsystem(:db).gate
      Gate.set_guard(whole, 10)
      put(:db, 0.5)

      test = self()
      work = fn -> send(test, {:at_work, self()}) && Process.sleep(:infinity) end

      run = fn name ->
        pid =
          spawn(fn ->
            receive(do: (:go -> :ok)) && send(test, {:answer, self(), VSM.run(name, "a", work)})
          end)

        Test.allow(test, pid)
        send(pid, :go)

        receive do
          {:at_work, ^pid} -> pid
          {:answer, ^pid, {:error, :rate_limited, %{window: :in_flight}}} -> :full
        after
          30_000 -> flunk("neither")
        end
      end

      taken = for _ <- 1..10, do: run.(:s1)
      assert %{db: %{in_flight: at_work}, s1: %{in_flight: at_work}} = VSM.subsystem_metrics()
      assert at_work in 1..9
      assert Enum.count(taken, &is_pid/1) == at_work

      s5 = run.(:s5)
      assert is_pid(s5)
      for pid <- [s5 | taken], is_pid(pid), do: Process.exit(pid, :kill)
      assert eventually(fn -> VSM.subsystem_metrics().db.in_flight == 0 end)
      assert %{s1: %{in_flight: 0}, s5: %{in_flight: 0}} = VSM.subsystem_metrics()
    end

    test "counts a child's work as the parent's work, too", %{} do
      for name <- [:s1, :s4, :s5], do: VSM.run(name, "a", fn -> Test.advance(7) end)
      assert {%{ok: 3, latency: %{sum_us: 21_000}}, _} = Gate.drain(subsystem(:db).gate)
      assert {%{ok: 1}, _} = Gate.drain(subsystem(:s5).gate)
    end

    test "reaches grandchildren" do
      put(:db, 0.25)
      assert_in_delta scales().below, 0.1, 1.0e-6
    end
  end

  describe "gates/2" do
    setup do
      Test.start(
        vsm: [
          subsystems: [
            s1: [limit: 100, per: :second, law: Fixed, priority: 1],
            s5: [limit: 20, per: :second, law: Fixed, priority: 5],
            quiet: [limit: 20, per: :second, law: Fixed, priority: 5]
          ]
        ]
      )

      for {name, demand} <- [s1: 90, s5: 10] do
        demand(name, demand)
        Subsystem.put_demand(subsystem(name), demand / 1)
      end

      :ok
    end

    defp gates(scale) do
      table = Tree.fetch!(RateLimiter)
      members = Tree.all(table)
      shares = members |> Scales.gates(scale) |> Map.new()
      Map.new(members, fn {subsystem, _own} -> {subsystem.name, shares[subsystem.gate]} end)
    end

    test "closes the least important gates first" do
      assert %{s1: s1, s5: 1.0} = gates(0.5)
      assert s1 < 0.5 and s1 > 0.3
    end

    test "opens a gate without demand while a lower priority can give way" do
      for scale <- [0.1, 0.5, 0.9], do: assert(gates(scale).quiet == 1.0)
    end

    test "opens a gate without demand as far as the whole node if no priority is lower" do
      Subsystem.put_demand(subsystem(:s1), 0.0)
      assert %{s1: 0.3, quiet: 1.0} = gates(0.3)
    end
  end
end
