defmodule RateLimiter.Adaptive.ClosedLoop.ReadingTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories, only: [for_all: 3, observation: 0]

  alias RateLimiter.Adaptive.{ClosedLoop, Observation, Work}
  alias RateLimiter.Adaptive.ClosedLoop.{Estimates, Reading, Window}

  # Calls with this outcome, each of so many milliseconds.
  defp calls(outcome, count, ms),
    do: Enum.reduce(List.duplicate(ms * 1_000, count), %Work{}, &Work.record(&2, outcome, &1))

  defp work(parts), do: Enum.reduce(parts, &Work.add/2)

  # The reading of a window with these fields, by a law with a usual duration of 20 ms.
  defp read(window, options \\ []) do
    estimates = %Estimates{base: %{p25: 20.0, p50: 20.0, mean: 20.0}}
    {fields, observation} = Keyword.pop(options, :state, [])
    window = struct!(%Window{elapsed_ms: 1_000}, window)
    state = struct!(%ClosedLoop{window: window, estimates: estimates}, fields)
    Reading.take(state, struct!(%Observation{limit: 100.0}, observation))
  end

  describe "take/2 of calls" do
    test "has no opinion without any finished call" do
      assert %Reading{
               opinion?: false,
               by_load?: false,
               held_back?: false,
               stress: +0.0,
               binding: nil,
               queue: +0.0,
               errors: +0.0,
               latency: nil,
               waited_ms: nil
             } = read([])
    end

    test "has the latency of successful calls alone" do
      reading = read(fresh: work([calls(:ok, 8, 40), calls(:error, 2, 1)]))
      assert %{p25: p25, p50: p50, mean: 40.0} = reading.latency
      assert_in_delta p25, 40, 0.7
      assert_in_delta p50, 40, 0.7
      assert reading.errors == 0.2
      assert reading.opinion?

      failed = read(fresh: calls(:error, 2, 1))
      assert %{latency: nil, queue: +0.0, opinion?: true, errors: 1.0} = failed
    end

    test "has the quarter and the half of the calls that were fastest" do
      fresh = work(for ms <- 1..100, do: calls(:ok, 1, ms * 10))
      assert %{p25: p25, p50: p50, mean: 505.0} = read(fresh: fresh).latency
      assert_in_delta p25, 250, 5
      assert_in_delta p50, 500, 10
    end

    test "has how long callers waited that gave up" do
      fresh = work([calls(:timeout, 1, 100), calls(:timeout, 1, 300), calls(:error, 1, 900)])
      assert read(fresh: fresh).waited_ms == 200.0
    end

    test "counts work from before the last cut, unless more than three tenths of all failed" do
      earlier = calls(:error, 3, 1)
      assert %{errors: 0.3} = read(fresh: calls(:ok, 7, 20), earlier: earlier)
      assert %{errors: +0.0} = read(fresh: calls(:ok, 6, 20), earlier: earlier)
      assert %{errors: +0.0} = read(fresh: calls(:ok, 1, 20), earlier: earlier)
      # Without any success, a cut loses nothing.
      assert %{errors: 1.0} = read(earlier: earlier)
    end
  end

  describe "take/2: the stress" do
    # Successful calls of so many milliseconds, in one bucket each.
    defp slow(ms, options \\ []), do: read([fresh: calls(:ok, 20, ms)], options)

    test "of a queue is 0 up to half of what callers can bear beyond the usual, 0.5 at 1.25, and 1 at twice that" do
      # Three usual durations: 60 ms. Callers can bear (60 - 20) / 2 = 20 ms more.
      for {ms, stress} <- [{20, 0.0}, {29, 0.0}, {32, 0.067}, {45, 0.5}, {61, 1.0}, {500, 1.0}] do
        assert %{stress: read, queue: queue} = slow(ms)
        assert_in_delta read, stress, 0.025
        assert queue == read
      end

      assert %{binding: :queue} = slow(60)
      assert %{binding: nil} = slow(20)
    end

    test "of a queue depends on the target, but on no less than the usual duration or five milliseconds" do
      assert_in_delta slow(45, state: [target: 1_000]).stress, 0.0, 0.01
      assert_in_delta slow(145, state: [target: 330]).stress, 0.5, 0.02
      assert_in_delta slow(45, state: [target: 1]).stress, 0.5, 0.05

      short = %Estimates{base: %{p25: 1.0, p50: 1.0, mean: 1.0}}
      assert slow(3, state: [estimates: short]).stress == 0.0
      assert_in_delta slow(7, state: [estimates: short]).stress, 0.48, 0.05
    end

    test "of a queue is 0 before the usual duration is known" do
      assert %{stress: +0.0, queue: +0.0} = slow(500, state: [estimates: %Estimates{}])
    end

    test "of failures is 0 up to 2 %, 0.5 at 13.5 %, and 1 at 25 %" do
      for {failures, stress} <- [{20, 0.0}, {43, 0.1}, {135, 0.5}, {250, 1.0}, {300, 1.0}] do
        reading =
          read(fresh: work([calls(:ok, 1_000 - failures, 20), calls(:error, failures, 1)]))

        assert_in_delta reading.stress, stress, 1.0e-9
        assert reading.binding == if(stress > 0, do: :errors)
        assert reading.queue == 0.0
      end
    end

    test "counts only failures beyond the usual ones" do
      fresh = work([calls(:ok, 80, 20), calls(:error, 20, 1)])
      usual = %Estimates{base: %{p25: 20.0, p50: 20.0, mean: 20.0}, usual_errors: 0.065}
      assert %{errors: 0.2} = reading = read([fresh: fresh], state: [estimates: usual])
      assert_in_delta reading.stress, 0.5, 1.0e-9
      rare = %{usual | usual_errors: 0.9}
      assert read([fresh: fresh], state: [estimates: rare]).stress == 0.0
    end

    test "of one failure alone is 1" do
      assert %{stress: 1.0, binding: :errors, opinion?: true} = read(fresh: calls(:error, 1, 1))
    end

    test "takes one failure beside four successes for chance, but not two, nor one beside three" do
      stress = &read(fresh: work([calls(:ok, &1, 20), calls(:error, &2, 1)])).stress
      assert stress.(4, 1) == 0.0
      assert stress.(3, 1) > 0.0
      assert stress.(8, 2) > 0.0
    end

    test "is that of the strongest pain, if it is greater than that of the work" do
      assert %{stress: 0.4, binding: {:pain, :b}, opinion?: true} =
               read([], pain: %{a: 0.2, b: 0.4})

      assert %{stress: 1.0, binding: {:pain, :a}} = read([], pain: %{a: 1})
      assert %{binding: :queue, queue: queue} = slow(45, pain: %{a: 0.4})
      assert queue > 0.4
      assert %{binding: {:pain, :a}, queue: ^queue} = slow(45, pain: %{a: 0.9})

      assert %{stress: +0.0, opinion?: false} =
               read([], pain: %{a: 0.9}, state: [ignored: %{a: 1.0}])
    end

    test "is between 0 and 1 for any window" do
      for_all seed, 100 do
        :rand.seed(:exsss, seed)
        observation = observation()
        state = %ClosedLoop{window: Window.add(%Window{}, observation)}
        reading = Reading.take(state, observation)
        assert reading.stress >= 0.0 and reading.stress <= 1.0
        assert reading.queue <= reading.stress
        assert reading.stress > 0.0 == (reading.binding != nil)
      end
    end
  end

  describe "take/2: whether load can be the cause" do
    test "it can if calls were denied, by the limit or by the guard" do
      assert %{held_back?: true, by_load?: true} = read(asked: 9, denied: 1)
      assert %{held_back?: true, by_load?: true} = read(asked: 9, guarded: 1)
      assert %{held_back?: false, by_load?: false} = read([])
    end

    test "it can for failures and pain, but not for a queue alone" do
      assert read(fresh: calls(:error, 9, 1)).by_load?
      assert read([], pain: %{a: 0.9}).by_load?
      refute slow(500).by_load?
    end

    test "it can if more calls were admitted than finished, by two standard deviations of those in flight" do
      piling = fn asked, in_flight ->
        read([fresh: calls(:ok, 20, 500), asked: asked], in_flight: in_flight).by_load?
      end

      assert piling.(29, 16)
      refute piling.(28, 16)
      # A standard deviation of one call at least.
      assert piling.(23, 0)
      refute piling.(22, 0)
    end

    test "it can if calls pile up since the first of several hot windows" do
      since = fn in_flight, state ->
        read([fresh: calls(:ok, 20, 500), asked: 20], in_flight: in_flight, state: state).by_load?
      end

      for count <- [[hot: 1], [steady: 1]] do
        assert since.(25, [hot_from: 16] ++ count)
        refute since.(24, [hot_from: 16] ++ count)
        assert since.(3, [hot_from: 0] ++ count)
        refute since.(2, [hot_from: 0] ++ count)
      end

      refute since.(25, hot_from: 16)
    end
  end

  test "take/2 has the rates of the window and the numbers of the observation" do
    fresh = work([calls(:ok, 8, 20), calls(:error, 2, 1)])
    window = [fresh: fresh, elapsed_ms: 2_000, asked: 40, denied: 10, guarded: 4]

    assert %Reading{
             good_rate: 4.0,
             admitted_rate: 13.0,
             demand: 20.0,
             guarded_share: 0.1,
             seconds: 2.0,
             limit: 70.0,
             in_flight: 5
           } = read(window, limit: 70.0, in_flight: 5)

    assert read([]).guarded_share == 0.0
    assert read(asked: 1, guarded: 1).guarded_share == 1.0
  end
end
