defmodule RateLimiter.VSM.SubsystemTest do
  use ExUnit.Case, async: true

  alias RateLimiter.VSM.Subsystem

  setup do
    fields = [instance: :shop, name: :work, limiter: nil, gate: nil, table: nil, events: :all]
    %{new: struct!(Subsystem, [cells: Subsystem.new_cells()] ++ fields)}
  end

  test "a new subsystem has its whole limit, and no measurement", %{new: new} do
    assert {Subsystem.scale(new), Subsystem.share(new)} == {1.0, 1.0}
    assert {Subsystem.mean_ms(new), Subsystem.demand(new), Subsystem.need(new)} == {nil, 0.0, 0.0}
    for flag <- [:pain, :pleasure, :urgent], do: refute(Subsystem.flag?(new, flag))
  end

  test "each cell keeps its own value within its resolution", %{new: new} do
    :rand.seed(:exsss, 6)

    for _ <- 1..200 do
      [scale, share, mean, demand, need] = for _ <- 1..5, do: :rand.uniform() * 100
      Subsystem.put_scale(new, scale)
      Subsystem.put_share(new, share)
      Subsystem.put_mean_ms(new, mean)
      Subsystem.put_demand(new, demand)
      Subsystem.put_need(new, need)
      assert_in_delta Subsystem.scale(new), scale, 1.0e-6
      assert_in_delta Subsystem.share(new), share, 1.0e-6
      assert_in_delta Subsystem.mean_ms(new), mean, 1.0e-3
      assert_in_delta Subsystem.demand(new), demand, 1.0e-3
      # Rounded up: a need is never taken for none.
      assert Subsystem.need(new) >= need and Subsystem.need(new) < need + 0.0011
    end
  end

  test "a duration that was measured is never unknown, however short", %{new: new} do
    Subsystem.put_mean_ms(new, 0.0)
    assert Subsystem.mean_ms(new) == 0.001
  end

  test "of concurrent processes one raises a flag, and one lowers it", %{new: new} do
    changed = fn change ->
      1..50
      |> Enum.map(fn _ -> Task.async(fn -> change.(new, :urgent) end) end)
      |> Task.await_many(:infinity)
      |> Enum.count(& &1)
    end

    assert changed.(&Subsystem.raise_flag/2) == 1
    assert Subsystem.flag?(new, :urgent)
    refute Subsystem.flag?(new, :pain)
    assert changed.(&Subsystem.lower_flag/2) == 1
    refute Subsystem.flag?(new, :urgent)
  end
end
