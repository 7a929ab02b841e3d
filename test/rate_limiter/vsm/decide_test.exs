defmodule RateLimiter.VSM.DecideTest do
  # The observation that a law gets, and the use of its decision.
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.{Algedonic, Test, VSM}
  alias RateLimiter.Support.ScriptedLaw

  setup %{test: key} do
    law = fn name -> ScriptedLaw.options(self(), key: {key, name}) end

    Test.start(
      vsm: [
        subsystems: [
          top: [limit: 100, per: :second, law: law.(:top)],
          below: [limit: 50, per: :second, parent: :top, law: law.(:below)],
          dry: [limit: 50, per: :second, dry_run: true, law: law.(:dry)]
        ]
      ]
    )

    on_exit(fn ->
      for name <- [:top, :below, :dry], do: :persistent_term.erase({ScriptedLaw, {key, name}})
    end)

    %{key: key}
  end

  # Steps with this decision.
  defp decide(%{key: key}, name \\ :top, decision) do
    ScriptedLaw.say({key, name}, decision)
    Test.advance(:second)
  end

  # The last observation that the law got.
  defp observed(%{key: key} = context, last \\ nil) do
    law = {key, :top}

    receive do
      {:step, ^law, observation, _now} -> observed(context, observation)
    after
      0 -> last
    end
  end

  describe "a decision" do
    test "is applied to the next call and explained", context do
      decide(context, %Decision{
        scale: 0.5,
        from: 1.0,
        guard: 7,
        action: :cut,
        stress: 0.8,
        binding: :queue,
        news?: true,
        sentence: "because"
      })

      assert {:ok, %{max: 50, scale: 0.5}} = VSM.check_subsystem_limit(:top, "a")

      assert %{scale: 0.5, own_scale: 0.5, guard: 7, stress: 0.8, binding: :queue, action: :cut} =
               VSM.subsystem_metrics().top

      assert [
               %{
                 from: 1.0,
                 to: 0.5,
                 stress: 0.8,
                 binding: :queue,
                 sentence: "because",
                 action: :cut,
                 dry_run: false,
                 at: ~U[2025-01-01 00:00:01.000000Z]
               }
             ] = VSM.explain(:top)
    end

    test "is an event", context do
      # Emitted by the controller, a process of its own.
      test = self()
      handler = {__MODULE__, test}
      event = [:rate_limiter, :vsm, :adaptation]
      :telemetry.attach(handler, event, &__MODULE__.forward/4, {test, context.key})
      on_exit(fn -> :telemetry.detach(handler) end)

      decide(context, %Decision{
        scale: 0.5,
        from: 1.0,
        action: :cut,
        news?: true,
        sentence: to_string(context.key)
      })

      assert_received {:adaptation, %{from: 1.0, to: 0.5, stress: +0.0},
                       %{subsystem: :top, action: :cut, instance: RateLimiter}}
    end

    test "of a parent limits all its descendants: the minimum applies", context do
      ScriptedLaw.say({context.key, :below}, %Decision{scale: 0.8})
      decide(context, :top, %Decision{scale: 0.4})

      assert %{top: %{scale: 0.4}, below: %{scale: 0.4, own_scale: 0.8}, dry: %{scale: 1.0}} =
               VSM.subsystem_metrics()

      decide(context, :below, %Decision{scale: 0.2})
      assert %{top: %{scale: 0.4}, below: %{scale: 0.2}} = VSM.subsystem_metrics()
      decide(context, :top, %Decision{scale: 1.0})
      assert %{top: %{scale: 1.0}, below: %{scale: 0.2}} = VSM.subsystem_metrics()
    end

    test "in a dry run is explained, but not applied", context do
      cut = %Decision{scale: 0.1, guard: 4, action: :cut, news?: true, sentence: "dry"}
      decide(context, :dry, cut)

      assert %{scale: 1.0, own_scale: 1.0, asked_scale: 0.1, guard: :infinity, dry_run: true} =
               VSM.subsystem_metrics().dry

      assert [%{dry_run: true, to: 0.1, sentence: "dry"}] = VSM.explain(:dry)
    end

    test "is kept between the floor and the ceiling", context do
      for {scale, applied} <- [{7.5, 1.0}, {-1, 0.1}, {1.0e300, 1.0}, {0.4, 0.4}] do
        decide(context, %Decision{scale: scale})
        assert VSM.subsystem_metrics().top.scale == applied
      end
    end

    test "to cut separates work that began before it", context do
      ScriptedLaw.say({context.key, :top}, %Decision{scale: 0.5, action: :cut})

      VSM.run(:top, "a", fn ->
        Test.advance(:second)
        VSM.run(:top, "b", fn -> :ok end)
      end)

      decide(context, %Decision{scale: 0.5})
      assert %{fresh: %{ok: 1}, earlier: %{ok: 1}} = observed(context)
    end
  end

  describe "an observation" do
    test "has everything since the last step", context do
      Test.advance(:second)
      VSM.run(:top, "a", fn -> Test.advance(30) end)
      VSM.run(:top, "a", fn -> {:error, :x} end)
      VSM.check_subsystem_limit(:top, "a", cost: 1_000)
      Algedonic.pain(:top, 0.5, source: :probe)
      Algedonic.pleasure(:top, 0.25, source: :probe)
      Test.advance(970)
      observation = observed(context)

      assert %{limit: 100.0, elapsed_ms: 1_000, asked: 3, denied: 1, guarded: 0, in_flight: 0} =
               observation

      assert %{ok: 1, errors: 1, timeouts: 0, rejected: 0, latency: %{count: 1, sum_us: 30_000}} =
               observation.fresh

      assert %{probe: level} = observation.pain
      assert_in_delta level, 0.5 * :math.pow(0.5, 970 / 5_000), 1.0e-9
      assert %{probe: _} = observation.pleasure
    end
  end

  describe "a law that fails" do
    test "leaves the scale as it is, is explained, and starts again", context do
      decide(context, %Decision{scale: 0.5})
      decide(context, fn _state, _observation -> raise "a bug in the law" end)
      assert VSM.subsystem_metrics().top.scale == 0.5
      assert [%{held_by: :law_failed, sentence: sentence}] = VSM.explain(:top)
      assert sentence == "The law raised RuntimeError (a bug in the law): the scale stays 0.5."

      decide(context, fn state, _observation -> %Decision{scale: state.scale + 0.1} end)
      assert VSM.subsystem_metrics().top.scale == 0.6
    end

    test "by a throw, an exit or an invalid scale is explained", context do
      for {law, sentence} <- [
            {fn _, _ -> throw(:ball) end, "The law threw :ball: the scale stays 1.0."},
            {fn _, _ -> exit(:timeout) end, "The law exited with :timeout: the scale stays 1.0."},
            {fn _, _ -> %Decision{scale: :half} end,
             "The law raised ArgumentError (expected a number as the scale, got: :half): the scale stays 1.0."}
          ] do
        decide(context, law)
        assert [%{held_by: :law_failed, sentence: ^sentence} | _] = VSM.explain(:top)
        assert VSM.subsystem_metrics().top.scale == 1.0
      end
    end

    test "in the same way again and again is one entry", context do
      decide(context, %Decision{scale: 0.5, action: :cut, news?: true})
      ScriptedLaw.say({context.key, :top}, fn _, _ -> raise "again" end)
      Test.advance({40, :second})
      assert [%{held_by: :law_failed, steps: 40}, %{action: :cut}] = VSM.explain(:top)
    end
  end

  @doc false
  def forward(_event, measurements, %{sentence: sentence} = metadata, {test, key}) do
    if sentence == to_string(key), do: send(test, {:adaptation, measurements, metadata})
  end
end
