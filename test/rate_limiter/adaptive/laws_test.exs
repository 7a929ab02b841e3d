defmodule RateLimiter.Adaptive.LawsTest do
  # Properties of every law for random histories.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories

  alias RateLimiter.Adaptive.{ClosedLoop, Decision, Observation, Signals, Standard, Work}

  @laws [ClosedLoop, Signals, Standard]
  @steps 40

  # Each step as {state before, observation, now, state after, decision}.
  defp run(law, history, options \\ []) do
    {steps, _} =
      Enum.map_reduce(history, {law.new(options), 0}, fn observation, {state, now} ->
        now = now + round(observation.elapsed_ms)
        {next, decision} = law.step(state, observation, now)
        {{state, observation, now, next, decision}, {next, now}}
      end)

    steps
  end

  # A state after a random history.
  defp some_state(law, seed, options \\ []) do
    {_, _, now, state, _} =
      law |> run(history(seed, rem(seed, @steps) + 1), options) |> List.last()

    {state, now}
  end

  for law <- @laws do
    @law law

    test "#{inspect(law)}: scale, stress and guard stay within their bounds" do
      for_all seed, 30 do
        options = [floor: 0.2, ceiling: 1.5]

        for {_, _, _, _, decision} <- run(@law, history(seed, @steps), options) do
          assert decision.scale >= 0.2 and decision.scale <= 1.5
          assert decision.stress >= 0.0 and decision.stress <= 1.0
          assert decision.guard == :infinity or decision.guard >= 4
        end
      end
    end

    test "#{inspect(law)}: a cut is at most 30 %, and there is at most one per second" do
      for_all seed, 30 do
        steps = run(@law, history(seed, @steps))
        cuts = for {_, _, now, _, %{action: :cut} = decision} <- steps, do: {now, decision}

        for {_now, decision} <- cuts, do: assert(decision.scale >= 0.7 * decision.from - 1.0e-9)

        for [{earlier, _}, {later, _}] <- Enum.chunk_every(cuts, 2, 1, :discard),
            do: assert(later - earlier >= 900)
      end
    end

    test "#{inspect(law)}: every change and every event has a sentence with numbers" do
      for_all seed, 30 do
        for {_, _, _, _, %Decision{} = decision} <- run(@law, history(seed, @steps)) do
          if decision.scale != decision.from,
            do: assert(decision.action != :hold and decision.news?)

          if decision.news?, do: assert(decision.sentence =~ ~r/\d.*\.$/s)
          if decision.held_by, do: assert(is_binary(decision.sentence))
        end
      end
    end

    test "#{inspect(law)}: under stress, the scale grows only by an audit" do
      for_all seed, 50 do
        for {_, _, _, _, decision} <- run(@law, history(seed, @steps)),
            decision.scale > decision.from and decision.action != :audit do
          assert decision.stress <= 0.10
        end
      end
    end

    test "#{inspect(law)}: the same history gives the same decisions" do
      for_all seed, 20 do
        decisions = fn ->
          for {_, _, _, _, decision} <- run(@law, history(seed, @steps)), do: decision
        end

        assert decisions.() == decisions.()
      end
    end

    test "#{inspect(law)}: without calls and pain, the scale returns to 1 from any state" do
      for_all seed, 30 do
        {state, now} = some_state(@law, seed)
        silence = %Observation{limit: 100.0}

        # At 1 % per second from the floor: 232 seconds, after the smoothed pain has faded.
        {decision, _} =
          Enum.reduce(1..300, {nil, {state, now}}, fn _, {_, {state, now}} ->
            {state, decision} = @law.step(state, silence, now + 1_000)
            {decision, {state, now + 1_000}}
          end)

        assert decision.scale >= 1.0
      end
    end

    test "#{inspect(law)}: an observation with invalid numbers raises" do
      state = @law.new([])
      good = calm()

      bad = [
        %{good | limit: -1.0},
        %{good | limit: :nan},
        %{good | limit: 1.0e300},
        %{good | elapsed_ms: -5},
        %{good | asked: -1},
        %{good | asked: 1.5},
        %{good | in_flight: nil},
        %{good | pain: %{a: -0.1}},
        %{good | pain: %{a: 1.1}},
        %{good | pain: [0.5]},
        %{good | pleasure: %{a: :much}},
        %{good | fresh: nil},
        %{good | earlier: %Work{ok: -1}}
      ]

      for observation <- bad do
        assert_raise ArgumentError, ~r/expected .*, got: /, fn ->
          @law.step(state, observation, 1_000)
        end
      end
    end
  end

  describe "resize/2" do
    test "multiplies the rates of a state and keeps its scale" do
      for_all seed, 30 do
        {state, _now} = some_state(ClosedLoop, seed)
        three = ClosedLoop.resize(state, 3.0)
        assert three.scale == state.scale
        rates = fn state -> Enum.map(state.estimates.rates, &Float.round(&1, 6)) end
        assert rates.(three) == Enum.map(state.estimates.rates, &Float.round(&1 * 3, 6))
        assert rates.(ClosedLoop.resize(three, 1 / 3)) == rates.(state)
        assert three.guard == :infinity or three.guard >= state.guard
      end
    end

    test "three nodes with a third of the work each equal one node with all of it" do
      work = fn n, ms ->
        Enum.reduce(1..n, %Work{}, fn _, w -> Work.record(w, :ok, ms * 1_000) end)
      end

      observe = fn n, ms -> %{calm(n * 1.0) | fresh: work.(n, ms), asked: n} end

      {one, three} =
        Enum.reduce(1..10, {ClosedLoop.new([]), ClosedLoop.new([])}, fn second, {one, three} ->
          {one, _} = ClosedLoop.step(one, observe.(30, 20), second * 1_000)
          {three, _} = ClosedLoop.step(three, observe.(90, 20), second * 1_000)
          {one, three}
        end)

      assert_in_delta Enum.sum(ClosedLoop.resize(one, 3.0).estimates.rates),
                      Enum.sum(three.estimates.rates),
                      1.0e-6
    end
  end

  describe "ClosedLoop with reported work" do
    test "returns to scale 1 in twenty calm windows from any state" do
      for_all seed, 30 do
        {state, now} = some_state(ClosedLoop, seed)
        # The usual latency may be anything by now, so that it is learned again.
        state = put_in(state.estimates.base, nil)

        {scales, _} =
          Enum.map_reduce(1..21, {state, now}, fn _, {state, now} ->
            {state, decision} = ClosedLoop.step(state, calm(), now + 1_000)
            {decision.scale, {state, now + 1_000}}
          end)

        assert Enum.max(scales) >= 1.0 - 1.0e-9
      end
    end

    # From any state, a harder observation.
    defp assert_never_larger({state, now}, observations) do
      scales =
        for observation <- observations,
            {_, decision} = ClosedLoop.step(state, observation, now + 1_000),
            decision.action != :audit,
            do: decision.scale

      assert scales == Enum.sort(scales, :desc)
    end

    test "more pain never gives a larger scale" do
      for_all seed, 60 do
        from = some_state(ClosedLoop, seed)
        observation = observation()
        levels = Enum.sort(for _ <- 1..4, do: :rand.uniform())

        assert_never_larger(
          from,
          for(level <- [0.0 | levels], do: %{observation | pain: %{new: level}})
        )
      end
    end

    test "slower work never gives a larger scale" do
      for_all seed, 60 do
        from = some_state(ClosedLoop, seed)
        observation = %{observation() | earlier: %Work{}, pain: %{}}

        slower =
          for factor <- [1, 2, 5, 20, 100],
              do: Enum.reduce(1..40, %Work{}, &Work.record(&2, :ok, &1 * 300 * factor))

        assert_never_larger(from, for(work <- slower, do: %{observation | fresh: work}))
      end
    end

    test "more failures never give a larger scale" do
      for_all seed, 60 do
        from = some_state(ClosedLoop, seed)
        observation = %{observation() | earlier: %Work{}, pain: %{}}
        worse = for failures <- [0, 1, 5, 10, 20, 40], do: failing(40 - failures, failures)
        assert_never_larger(from, for(work <- worse, do: %{observation | fresh: work}))
      end
    end

    test "own denials are not stress" do
      for_all seed, 50 do
        {state, now} = some_state(ClosedLoop, seed)
        observation = observation()

        stress = fn denied, guarded ->
          asked = observation.asked + denied + guarded
          denied = %{observation | asked: asked, denied: denied, guarded: guarded}
          {_, decision} = ClosedLoop.step(state, denied, now + 1_000)
          decision.stress
        end

        # Without a full window, the last stress stays.
        most = max(state.stress, stress.(0, 0))
        assert stress.(500, 0) <= most
        assert stress.(0, 500) <= most
      end
    end

    test "work does not depend on the order of calls or on how it is split" do
      for_all seed, 50 do
        :rand.seed(:exsss, seed)

        calls =
          for _ <- 1..60, do: {pick([:ok, :ok, :ok, :error, :timeout]), :rand.uniform(100_000)}

        count = fn calls ->
          Enum.reduce(calls, %Work{}, fn {o, us}, w -> Work.record(w, o, us) end)
        end

        {one, two} = Enum.split(Enum.shuffle(calls), 20)

        assert count.(calls) == Work.add(count.(two), count.(one))
      end
    end
  end

  defp failing(ok, failed) do
    work = Enum.reduce(List.duplicate(:ok, ok), %Work{}, &Work.record(&2, &1, 20_000))
    Enum.reduce(List.duplicate(:error, failed), work, &Work.record(&2, &1, 1_000))
  end
end
