defmodule RateLimiter.Adaptive.ClosedLoop.AuditTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.ClosedLoop
  alias RateLimiter.Adaptive.ClosedLoop.{Audit, Estimates, Reading}

  defp latency(ms), do: %{p25: ms * 1.0, p50: ms * 1.0, mean: ms * 1.0}

  defp state(fields \\ []), do: struct!(ClosedLoop, fields)

  defp reading(binding, fields \\ []),
    do: struct!(%Reading{binding: binding, latency: latency(300), in_flight: 10}, fields)

  # A state after a first cut that this reading led to.
  defp cut(reading, fields) do
    state = state(fields)
    %{state | chain: Audit.chain(state, reading)}
  end

  defp errors(share, fields \\ []), do: struct!(%Estimates{errors: share}, fields)

  describe "chain/2" do
    test "begins with the scale, and marks the signal as it was at the cut" do
      reading = reading(:queue, admitted_rate: 80.0, stress: 0.6)
      chain = Audit.chain(state(scale: 0.9, estimates: errors(0.1)), reading)

      assert chain == %Audit{
               scale: 0.9,
               collapsed?: false,
               marks: %{
                 queue: %{
                   scale: 0.9,
                   latency: latency(300),
                   in_flight: 10,
                   admitted: 80.0,
                   errors: 0.1,
                   stress: 0.6
                 }
               }
             }
    end

    test "keeps its first scale, and a mark for each signal" do
      first = cut(reading(:queue), scale: 0.9)
      chain = Audit.chain(%{first | scale: 0.6}, reading(:errors))
      assert {chain.scale, chain.marks.queue.scale, chain.marks.errors.scale} == {0.9, 0.9, 0.6}
    end

    test "marks a signal again only when it has become clearly better" do
      marked = fn state, reading -> Audit.chain(state, reading).marks[reading.binding].scale end
      queue = %{cut(reading(:queue), scale: 0.9) | scale: 0.6}
      assert marked.(queue, reading(:queue, latency: latency(269))) == 0.6
      assert marked.(queue, reading(:queue, latency: latency(270))) == 0.9

      failures = %{cut(reading(:errors), scale: 0.9, estimates: errors(0.5)) | scale: 0.6}
      assert marked.(%{failures | estimates: errors(0.39)}, reading(:errors)) == 0.6
      assert marked.(%{failures | estimates: errors(0.4)}, reading(:errors)) == 0.9

      pain = %{cut(reading({:pain, :a}, stress: 1.0), scale: 0.9) | scale: 0.6}
      assert marked.(pain, reading({:pain, :a}, stress: 0.1)) == 0.9
    end

    test "remembers that most calls failed at a cut" do
      refute Audit.chain(state(), reading(:errors, errors: 0.5)).collapsed?
      collapsed = cut(reading(:errors, errors: 0.51), [])
      assert collapsed.chain.collapsed?
      assert Audit.chain(collapsed, reading(:queue)).collapsed?
    end
  end

  describe "from/2" do
    test "is the scale at the mark of the signal, else that at the first cut" do
      state = %{cut(reading(:queue), scale: 0.9) | scale: 0.6}
      state = %{state | chain: Audit.chain(state, reading(:errors))}
      state = %{state | scale: 0.4}
      assert Audit.from(state, reading(:errors)) == 0.6
      assert Audit.from(state, reading({:pain, :a})) == 0.9
    end

    test "is the present scale if most calls failed" do
      state = %{cut(reading(:errors, errors: 0.9), scale: 0.9) | scale: 0.4}
      assert Audit.from(state, reading(:errors)) == 0.4
    end
  end

  test "resize/2 multiplies what grows with the number of nodes" do
    reading = reading(:queue, admitted_rate: 80.0, stress: 0.6)
    %{chain: chain} = cut(reading, scale: 0.9)
    mark = %{chain.marks.queue | in_flight: 30.0, admitted: 240.0}
    assert Audit.resize(chain, 3.0) == %{chain | marks: %{queue: mark}}
    assert Audit.resize(nil, 3.0) == nil
  end

  describe "failed?/2" do
    # The state and the reading of a failed audit, and of those that one change makes no failed audit.
    defp assert_audit({state, reading}, passing) do
      assert Audit.failed?(state, reading)

      for {change, value} <- passing do
        {state, reading} =
          if is_map_key(reading, change),
            do: {state, Map.replace!(reading, change, value)},
            else: {Map.replace!(state, change, value), reading}

        refute Audit.failed?(state, reading), "#{change}: #{inspect(value)}"
      end
    end

    # After a cut from 0.9 with 100 calls in flight, each of 300 ms.
    defp queue(scale, fields) do
      state = cut(reading(:queue, in_flight: 100), scale: 0.9, floor: 0.1)
      {%{state | scale: scale}, reading(:queue, fields)}
    end

    test "needs a cut that this signal led to" do
      refute Audit.failed?(state(), reading(:queue))
      assert_audit(queue(0.7, in_flight: 70), chain: nil, binding: :errors)
    end

    test "for a queue: fewer calls in flight are as slow as before" do
      assert_audit(queue(0.719, in_flight: 70, latency: latency(270)),
        scale: 0.721,
        in_flight: 71,
        latency: latency(269),
        latency: nil
      )
    end

    test "for a queue at the floor: calls are as slow as before, however many" do
      state = cut(reading(:queue), scale: 0.2, floor: 0.2)
      assert_audit({state, reading(:queue, errors: 0.5)}, floor: 0.1, errors: 0.51)
    end

    test "for a queue whose slow calls may have timed out: the others must be far from that" do
      patient = &errors(0.1, patience: &1)

      for share <- [0.1, 0.5] do
        {state, reading} = queue(0.7, in_flight: 70, errors: share)
        state = %{state | estimates: patient.(600.0)}
        assert_audit({state, reading}, estimates: patient.(599.0), estimates: patient.(nil))
        refute Audit.failed?(state, %{reading | errors: 0.51})
        assert Audit.failed?(%{state | estimates: patient.(nil)}, %{reading | errors: 0.099})
      end
    end

    # After a cut at 100 admitted calls per second, of which 25 % failed.
    defp failures(share, fields) do
      state = cut(reading(:errors, admitted_rate: 100.0), estimates: errors(0.25))
      {%{state | estimates: errors(share)}, reading(:errors, fields)}
    end

    test "for failures: fewer admitted calls fail as often" do
      assert_audit(failures(0.2, admitted_rate: 85.0, queue: 0.1),
        admitted_rate: 85.1,
        estimates: errors(0.19),
        estimates: errors(0.3)
      )
    end

    test "for failures beside a queue: far fewer admitted calls fail as often" do
      assert_audit(failures(0.49, admitted_rate: 70.0, queue: 0.11),
        admitted_rate: 70.1,
        estimates: errors(0.19),
        estimates: errors(0.5),
        # Callers may have given up on the slow calls.
        errors: 0.1
      )
    end

    test "for pain: it is as strong at half the scale, although the work goes well" do
      state = cut(reading({:pain, :a}, stress: 0.9), scale: 0.8)
      half = %{state | scale: 0.4, estimates: %Estimates{usual_errors: 0.02}}
      reading = reading({:pain, :a}, stress: 0.811, queue: 0.1, errors: 0.069)

      assert_audit({half, reading},
        scale: 0.41,
        stress: 0.809,
        queue: 0.11,
        errors: 0.071,
        binding: {:pain, :b}
      )
    end
  end

  describe "accept/2" do
    test "ignores a source at its level" do
      estimates = errors(0.2)
      state = state(estimates: estimates, ignored: %{b: 1.0})

      assert Audit.accept(state, reading({:pain, :a}, stress: 0.9)) ==
               {estimates, %{a: 0.9, b: 1.0}}
    end

    test "counts failures as usual, and the latency only beside a queue" do
      estimates = errors(0.2, base: latency(20))
      state = state(estimates: estimates, ignored: %{b: 1.0})

      assert Audit.accept(state, reading(:errors, queue: 0.1)) ==
               {%{estimates | usual_errors: 0.2}, %{b: 1.0}}

      assert Audit.accept(state, reading(:errors, queue: 0.11)) ==
               {%{estimates | usual_errors: 0.2, base: latency(300)}, %{b: 1.0}}
    end

    test "counts the latency of a queue as usual" do
      estimates = errors(0.2, base: latency(20))
      state = state(estimates: estimates, ignored: %{b: 1.0})

      assert Audit.accept(state, reading(:queue)) ==
               {%{estimates | base: latency(300)}, %{b: 1.0}}

      assert Audit.accept(state, reading(:queue, latency: nil)) == {estimates, %{b: 1.0}}
    end
  end

  test "strongest/2 is the strongest pain of a source that is not ignored" do
    pain = %{a: 0.2, b: 0.9, c: 0.5}
    assert Audit.strongest(pain, %{}) == {0.9, :b}
    assert Audit.strongest(pain, %{b: 1.0}) == {0.5, :c}
    assert Audit.strongest(%{a: 1.0}, %{a: 1.0}) == {0.0, nil}
    assert Audit.strongest(%{}, %{}) == {0.0, nil}
  end

  test "still_ignored/2 ends with the first observation without pain of the source" do
    ignored = %{a: 1.0, b: 0.9, c: 0.8}
    assert Audit.still_ignored(ignored, %{a: 0.1, b: 0.099, d: 1.0}) == %{a: 1.0}
  end
end
