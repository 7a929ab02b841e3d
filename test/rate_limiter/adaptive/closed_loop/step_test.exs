defmodule RateLimiter.Adaptive.ClosedLoop.StepTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories, only: [for_all: 3, pick: 1]

  alias RateLimiter.Adaptive.ClosedLoop
  alias RateLimiter.Adaptive.ClosedLoop.{Estimates, Reading, Step}

  defp state(fields \\ []), do: struct!(ClosedLoop, fields)
  defp reading(fields \\ []), do: struct!(%Reading{opinion?: true, limit: 100.0}, fields)
  # Estimates of so many calls per second that were answered well.
  defp proven(rate), do: %Estimates{rates: [rate / 1]}

  describe "cut/3" do
    test "takes up to three tenths, in proportion to the stress" do
      for {stress, to} <- [{1.0, 0.7}, {0.5, 0.85}, {0.25, 0.925}] do
        assert {scale, nil} = Step.cut(state(), reading(stress: stress), 100)
        assert_in_delta scale, to, 1.0e-9
      end
    end

    test "ends at the rate that was recently answered well, and is held there" do
      hot = reading(stress: 1.0, binding: :queue)
      assert Step.cut(state(estimates: proven(80)), hot, 100) == {0.8, nil}
      assert Step.cut(state(estimates: proven(80), scale: 0.8), hot, 100) == {0.8, :proven}
      assert Step.cut(state(estimates: proven(80), scale: 0.5), hot, 100) == {0.5, :proven}
    end

    test "goes below that rate if most calls fail, and for pain, which is not about the rate" do
      state = state(estimates: proven(100))
      cut = &(state |> Step.cut(reading([stress: 1.0] ++ &1), 100) |> elem(0))
      assert cut.(binding: :errors, errors: 0.5) == 1.0
      assert_in_delta cut.(binding: :errors, errors: 0.51), 0.7, 1.0e-9
      assert_in_delta cut.(binding: {:pain, :db}), 0.7, 1.0e-9
    end

    test "ends at the floor, and is held there" do
      hot = reading(stress: 1.0, binding: :queue)
      assert Step.cut(state(scale: 0.25, floor: 0.2), hot, 100) == {0.2, nil}
      assert Step.cut(state(scale: 0.2, floor: 0.2), hot, 100) == {0.2, :floor}
    end

    test "never raises the scale, and is held exactly if it does not lower it" do
      for_all seed, 200 do
        :rand.seed(:exsss, seed)
        scale = 0.1 + :rand.uniform()
        state = state(scale: scale, estimates: proven(:rand.uniform(200)))
        binding = pick([:queue, :errors, {:pain, :a}])

        reading = reading(stress: :rand.uniform(), errors: :rand.uniform(), binding: binding)

        {to, held} = Step.cut(state, reading, 100)
        assert to <= scale and to >= max(0.1, 0.7 * scale - 1.0e-9)
        assert held == nil == to < scale
      end
    end
  end

  describe "pace/2" do
    test "is slow near the capacity, except where the stress ended without a lower scale" do
      assert Step.pace(nil, 0.2) == {0, 0.15}
      assert Step.pace(:proven, 0.3) == {0, 0.15}
      assert Step.pace(:proven, 0.29) == {3, 0.15}
      assert Step.pace(:floor, 0.5) == {3, 0.5}
    end
  end

  describe "grow/2" do
    test "is 3 % near the edge, in three steps of a second, and leaves the pace as it is" do
      state = state(scale: 0.5, edge: 0.6)
      assert {scale, 1, 0.15} = Step.grow(state, reading())
      assert_in_delta scale, 0.515, 1.0e-9
      assert {_, 2, _} = Step.grow(%{state | near: 1}, reading())
      # A window that took longer stands for as many steps.
      assert {scale, 2, 0.15} = Step.grow(state, reading(seconds: 2.4))
      assert_in_delta scale, 0.5 * :math.pow(1.03, 2.4), 1.0e-9
      assert {_, 1, _} = Step.grow(state, reading(seconds: 0.2))
    end

    test "begins at four fifths of the edge" do
      assert {_, 1, 0.15} = Step.grow(state(scale: 0.48, edge: 0.6), reading())
      assert {_, 0, _} = Step.grow(state(scale: 0.479, edge: 0.6), reading())
    end

    test "is faster far below the edge, and after the steps near it" do
      for {state, near} <- [{[edge: 0.63], 0}, {[edge: 0.6, near: 3], 3}] do
        assert {scale, ^near, pace} = Step.grow(state([scale: 0.5] ++ state), reading())
        assert_in_delta scale, 0.575, 1.0e-9
        assert_in_delta pace, 0.225, 1.0e-9
      end
    end

    test "speeds up to one half per second, and at most doubles the scale" do
      fast = state(scale: 0.3, pace: 0.4, near: 3)
      assert {_, 3, 0.5} = Step.grow(fast, reading())
      assert {0.6, 3, 0.5} = Step.grow(fast, reading(seconds: 5.0))
      assert {scale, 3, 0.5} = Step.grow(fast, reading(seconds: 0.1))
      assert_in_delta scale, 0.42, 1.0e-9
    end

    test "ends at the ceiling, which is a reason to hold if calls are denied" do
      assert {0.9, _, _} = Step.grow(state(scale: 0.85, near: 3, ceiling: 0.9), reading())
      full = state(scale: 0.9, ceiling: 0.9)
      assert Step.grow(full, reading(held_back?: true)) == {:held, :ceiling}
      assert Step.grow(full, reading()) == {:held, nil}
    end

    test "above the configured limit needs calls that use it up" do
      state = state(scale: 1.2, ceiling: 2.0, near: 3)
      assert Step.grow(state, reading(demand: 108.0)) == {:held, nil}
      assert {scale, 3, _} = Step.grow(state, reading(demand: 108.1))
      assert_in_delta scale, 1.38, 1.0e-9
      assert Step.grow(%{state | scale: 1.0}, reading(demand: 90.0)) == {:held, nil}
    end

    test "waits while the guard denies more calls than chance explains" do
      assert {_, _, _} = Step.grow(state(scale: 0.5), reading(guarded_share: 0.02))
      assert Step.grow(state(scale: 0.5), reading(guarded_share: 0.021)) == {:held, :guard}
    end
  end

  describe "guard/3" do
    # Usual durations of 50 ms.
    defp usual(fields \\ []),
      do: struct!(%Estimates{base: %{p25: 40.0, p50: 45.0, mean: 50.0}}, fields)

    defp guard(state, reading \\ reading()),
      do: Step.guard(state(Keyword.merge([estimates: usual()], state)), reading, 100)

    test "is the rate times how long a call may stay" do
      # 100 calls per second, and 150 ms, three usual durations.
      assert guard([]) == 15
      assert guard(scale: 0.35) == 6
      assert guard(target: 300) == 20
      assert guard(estimates: usual(patience: 1_200.0)) == 40
    end

    test "is unlimited before the usual duration is known" do
      assert guard(estimates: %Estimates{}) == :infinity
    end

    test "allows the usual and the recent duration, also if callers cannot bear it" do
      assert guard(target: 3) == 5
      assert guard(target: 3, estimates: usual(mean: 80.0)) == 8
    end

    test "is at least four" do
      assert guard(scale: 0.1) == 4
    end

    test "allows as many standard deviations as there is room for" do
      assert guard(target: 240, room: 1.5) == 22
    end

    test "follows the completed rate once calls begin to fail" do
      failing = [held_back?: true, errors: 0.02]
      rates = fn rate -> [estimates: usual(rates: [rate]), target: 1_500] end

      # 1.2 times the completed rate, between half of the admitted one and all of it, for a second.
      assert guard(rates.(60.0), reading(failing)) == 72
      assert guard(rates.(10.0), reading(failing)) == 50
      assert guard(rates.(90.0), reading(failing)) == 100
      assert guard(rates.(60.0), reading(held_back?: true, errors: 0.019)) == 100
      assert guard(rates.(60.0), reading(errors: 0.02)) == 100
    end

    test "is reduced if more than three tenths of the calls fail" do
      assert guard([target: 1_500], reading(errors: 0.3)) == 100
      assert guard([target: 1_500], reading(errors: 0.65)) == 50
      assert guard([target: 1_500], reading(errors: 1.0)) == 4
    end
  end

  describe "room/2" do
    test "grows while calm calls are denied, up to three standard deviations" do
      denied = reading(stress: 0.1, guarded_share: 0.021)
      assert Step.room(%{room: 1.0}, denied) == 1.5
      assert Step.room(%{room: 2.7}, denied) == 3.0
      assert Step.room(%{room: 1.0}, %{denied | guarded_share: 0.02}) == 1.0
      assert Step.room(%{room: 1.0}, %{denied | stress: 0.11}) == 1.0
    end

    test "ends with stress, and stays without an opinion" do
      assert Step.room(%{room: 1.0}, reading(stress: 0.25)) == 0.0
      assert Step.room(%{room: 1.0}, reading(stress: 0.24)) == 1.0
      assert Step.room(%{room: 1.0}, reading(stress: 1.0, opinion?: false)) == 1.0
    end
  end
end
