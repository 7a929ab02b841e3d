defmodule RateLimiter.Adaptive.ClosedLoop.EstimatesTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories, only: [for_all: 3, pick: 1]

  alias RateLimiter.Adaptive.ClosedLoop.{Estimates, Reading}

  # A latency whose three numbers differ.
  defp latency(ms), do: %{p25: ms * 1.0, p50: ms * 2.0, mean: ms * 3.0}

  defp reading(fields \\ []),
    do: struct!(%Reading{latency: latency(10), opinion?: true}, fields)

  # The first window at `ms`, then one with these fields.
  defp after_windows(ms, fields),
    do: %Estimates{base: latency(ms)} |> Estimates.update(reading(fields))

  defp assert_base(estimates, p25) do
    for {key, value} <- latency(p25),
        do: assert_in_delta(Map.fetch!(estimates.base, key), value, 1.0e-9)
  end

  describe "update/2: the base latency" do
    test "is that of the first window, even under stress" do
      assert Estimates.update(%Estimates{}, reading(stress: 1.0)).base == latency(10)
      assert Estimates.update(%Estimates{}, reading(latency: nil)).base == nil
    end

    test "falls by three tenths of the difference, and rises by a fiftieth" do
      assert_base(after_windows(20, latency: latency(10)), 20 - 0.3 * 10)
      assert_base(after_windows(20, latency: latency(30)), 20 + 0.02 * 10)
    end

    test "is learned only without stress, and from calls that succeeded" do
      assert_base(after_windows(20, stress: 0.099), 17)
      assert_base(after_windows(20, stress: 0.1), 20)
      assert_base(after_windows(20, latency: nil), 20)
    end

    test "only falls while calls are denied" do
      assert_base(after_windows(20, held_back?: true), 17)
      assert_base(after_windows(20, held_back?: true, latency: latency(30)), 20)
    end

    test "never leaves the range of what was seen" do
      for_all seed, 50 do
        :rand.seed(:exsss, seed)
        seen = for _ <- 1..30, do: :rand.uniform() * 100

        estimates =
          Enum.reduce(seen, %Estimates{}, fn ms, estimates ->
            held_back? = pick([true, false])
            Estimates.update(estimates, reading(latency: latency(ms), held_back?: held_back?))
          end)

        assert estimates.base.p25 >= Enum.min(seen) - 1.0e-9
        assert estimates.base.p25 <= Enum.max(seen) + 1.0e-9
      end
    end
  end

  describe "update/2: the usual failures" do
    test "fall with the failures, and never rise" do
      usual = fn fields ->
        Estimates.update(%Estimates{usual_errors: 0.2}, reading(fields)).usual_errors
      end

      assert_in_delta usual.(errors: 0.1), 0.17, 1.0e-9
      assert usual.(errors: 0.3) == 0.2
      assert usual.(errors: 0.1, opinion?: false) == 0.2
    end
  end

  describe "update/2: the patience of callers" do
    test "is that of the first callers that gave up, then an average" do
      assert Estimates.update(%Estimates{}, reading()).patience == nil
      first = Estimates.update(%Estimates{}, reading(waited_ms: 1_000.0))
      assert first.patience == 1_000.0
      assert Estimates.update(first, reading()).patience == 1_000.0
      assert_in_delta Estimates.update(first, reading(waited_ms: 500.0)).patience, 850, 1.0e-9
    end
  end

  describe "update/2: the recent mean latency" do
    test "is an average of windows without a queue" do
      first = Estimates.update(%Estimates{}, reading())
      assert first.mean == 30.0
      assert_in_delta Estimates.update(first, reading(latency: latency(20))).mean, 39, 1.0e-9
      assert Estimates.update(first, reading(latency: nil)).mean == 30.0
      assert Estimates.update(first, reading(latency: latency(20), queue: 0.11)).mean == 30.0

      assert_in_delta Estimates.update(first, reading(latency: latency(20), queue: 0.1)).mean,
                      39,
                      1.0e-9
    end

    test "only falls while the guard denies calls, which causes the latency itself" do
      first = Estimates.update(%Estimates{}, reading())
      guarded = &reading(guarded_share: &1, latency: latency(&2))
      assert Estimates.update(first, guarded.(0.021, 20)).mean == 30.0
      assert Estimates.update(first, guarded.(0.021, 5)).mean == 15.0
      assert_in_delta Estimates.update(first, guarded.(0.02, 20)).mean, 39, 1.0e-9
      assert Estimates.update(%Estimates{}, guarded.(0.021, 20)).mean == nil
    end
  end

  test "update/2 smooths the share of failures" do
    estimates = Estimates.update(%Estimates{}, reading(errors: 0.5))
    assert_in_delta estimates.errors, 0.2, 1.0e-9
    assert_in_delta Estimates.update(estimates, reading()).errors, 0.12, 1.0e-9
  end

  describe "proven/1" do
    test "is the highest of the last four rates" do
      assert Estimates.proven(%Estimates{}) == 0.0

      proven =
        [9.0, 8.0, 1.0, 2.0, 3.0, 4.0]
        |> Enum.scan(%Estimates{}, &Estimates.update(&2, reading(good_rate: &1)))
        |> Enum.map(&Estimates.proven/1)

      assert proven == [9.0, 9.0, 9.0, 9.0, 8.0, 4.0]
    end

    test "grows with the number of nodes" do
      estimates = %Estimates{rates: [4.0, 10.0], base: latency(10), errors: 0.1}
      assert Estimates.resize(estimates, 2.5) == %{estimates | rates: [10.0, 25.0]}
    end
  end

  describe "tolerable_ms/2" do
    test "is two thirds of the target, else a third of the patience, else three usual durations" do
      estimates = %Estimates{base: latency(10), patience: 900.0}
      assert Estimates.tolerable_ms(estimates, 300) == 200.0
      assert Estimates.tolerable_ms(estimates, nil) == 300.0
      assert Estimates.tolerable_ms(%{estimates | patience: nil}, nil) == 90.0
      assert Estimates.tolerable_ms(%Estimates{}, nil) == nil
    end
  end
end
