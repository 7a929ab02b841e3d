defmodule RateLimiter.AlgedonicTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Events, only: [listen: 1]

  alias RateLimiter.{Algedonic, Test, VSM}
  alias RateLimiter.Adaptive.{Decision, Fixed}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Support.ScriptedLaw
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.{Table, Tree}

  # An instance for each test, since alarms go to all subscribers of an instance.
  setup context do
    key = context.test
    name = {__MODULE__, key}

    Test.start(
      name: name,
      vsm: [
        subsystems: [
          top: [
            limit: 100,
            per: :second,
            law: ScriptedLaw.options(self(), key: {key, :top}),
            patience: 20_000
          ],
          low: [
            limit: 50,
            per: :second,
            parent: :top,
            law: ScriptedLaw.options(self(), key: {key, :low}),
            patience: 15_000
          ],
          other: [limit: 50, per: :second, law: Fixed]
        ]
      ]
    )

    on_exit(fn ->
      for name <- [:top, :low], do: :persistent_term.erase({ScriptedLaw, {key, name}})
    end)

    %{name: name, key: key}
  end

  defp metrics(context, subsystem \\ :low), do: VSM.subsystem_metrics(context.name)[subsystem]

  defp pain(context, level, options \\ []),
    do: Algedonic.pain(:low, level, [source: :probe, instance: context.name] ++ options)

  # The last observation of the law.
  defp seen(%{key: key} = context) do
    law = {key, :low}

    receive do
      {:step, ^law, observation, _now} ->
        Process.put(law, observation)
        seen(context)
    after
      0 -> Process.get(law)
    end
  end

  defp again(seconds, fun), do: for(_ <- 1..seconds, do: {fun.(), Test.advance(:second)})

  describe "pain/3" do
    test "a signal has half its level after its half-life and expires after its time to live",
         context do
      :ok = pain(context, 0.8)
      assert metrics(context).pain == 0.8
      Test.advance(5_000)
      assert_in_delta metrics(context).pain, 0.4, 1.0e-9
      Test.advance(4_999)
      assert metrics(context).pain > 0.0
      Test.advance(1)
      assert metrics(context).pain == 0.0
    end

    test "the last signal of a source counts, and the strongest of several sources", context do
      pain(context, 0.8)
      pain(context, 0.3)
      Algedonic.pain(:low, 0.4, source: :other_probe, instance: context.name)
      assert %{pain: 0.4, sources: %{pain: %{probe: 0.3, other_probe: 0.4}}} = metrics(context)
      pain(context, 0)
      assert %{sources: %{pain: %{probe: +0.0}}} = metrics(context)
    end

    test "a subsystem may be called like a variable of match patterns" do
      name = {:patterns, self()}

      start_supervised!(
        {RateLimiter,
         name: name,
         vsm: [
           interval: 86_400_000,
           sensors: [schedulers: false, run_queue: false, timer: false, memory: false],
           subsystems: [
             a: [limit: 1, per: :day, law: Fixed],
             _: [limit: 1, per: :day, law: Fixed],
             "$1": [limit: 1, per: :day, law: Fixed]
           ]
         ]}
      )

      Algedonic.pain(:a, 0.5, source: :one, instance: name)
      Algedonic.pain(:"$1", 0.4, source: :other, instance: name)
      metrics = VSM.subsystem_metrics(name)
      assert metrics[:_].sources.pain == %{}
      assert Map.keys(metrics[:"$1"].sources.pain) == [:other]
      assert Map.keys(metrics[:a].sources.pain) == [:one]
    end

    test "the default source is the registered name of the process, or its pid", context do
      Algedonic.pain(:low, 0.2, instance: context.name)
      Process.register(self(), :algedonic_test_source)
      Algedonic.pain(:low, 0.4, instance: context.name)
      assert metrics(context).sources.pain == %{self() => 0.2, algedonic_test_source: 0.4}
    end

    test "sources above 64 count as one", context do
      for n <- 1..500, do: Algedonic.pain(:low, 0.1, source: n, instance: context.name)
      Algedonic.pain(:low, 0.6, source: :late, instance: context.name)
      assert %{pain: 0.6, sources: %{pain: sources}} = metrics(context)
      assert map_size(sources) == 65
      assert sources.others == 0.6
    end

    test "expired signals are deleted", context do
      for n <- 1..500, do: Algedonic.pain(:low, 0.1, source: n, instance: context.name)
      Test.advance(11_000)
      signals = Table.get(Tree.fetch!(context.name), :signals)
      assert :ets.info(signals, :size) == 0
    end

    test "a signal is an event", context do
      listen([[:rate_limiter, :algedonic, :pain]])
      pain(context, 0.8, reason: "queue of 4,000")
      instance = context.name

      assert_received {:event, _, %{level: 0.8},
                       %{
                         subsystem: :low,
                         source: :probe,
                         reason: "queue of 4,000",
                         instance: ^instance
                       }}
    end

    test "an invalid level, subsystem or option raises", context do
      for level <- [-0.1, 1.1, 80, :high, nil, "0.5"] do
        assert_raise ArgumentError,
                     "level: expected a number from 0.0 to 1.0, got: #{inspect(level)}",
                     fn ->
                       pain(context, level)
                     end
      end

      assert_raise ArgumentError,
                   ~r/^unknown subsystem :othr of .*, did you mean :other\? Known subsystems: :top, :low and :other$/,
                   fn ->
                     Algedonic.pain(:othr, 0.5, instance: context.name)
                   end

      assert_raise ArgumentError, ~r/unknown option :soruce, did you mean :source\?/, fn ->
        pain(context, 0.5, soruce: 1)
      end
    end

    test "a law observes pain, and no pain for a denial", context do
      VSM.check_subsystem_limit(:low, "a", cost: 10_000, instance: context.name)
      Test.advance(:second)
      assert %{pain: none, denied: 1} = seen(context)
      assert none == %{}
      pain(context, 0.5)
      Test.advance(:second)
      assert %{pain: %{probe: level}} = seen(context)
      assert level > 0.4
    end
  end

  describe "pleasure/3" do
    test "pleasure fades as pain does", context do
      listen([[:rate_limiter, :algedonic, :pleasure]])
      :ok = Algedonic.pleasure(:low, 0.5, source: :probe, instance: context.name)
      assert metrics(context).pleasure == 0.5
      Test.advance(5_000)
      assert_in_delta metrics(context).pleasure, 0.25, 1.0e-9
      assert %{pleasure: %{probe: _}, pain: pain} = seen(context)
      assert pain == %{}
      assert_received {:event, _, %{level: 0.5}, %{subsystem: :low}}
    end
  end

  describe "pain/3 of 0.9 or more" do
    # Waits for an urgent step, which the controller takes before it answers.
    defp settled(context) do
      Clock.await({:controller, Tree.fetch!(context.name), :low})
      seen(context)
    end

    test "triggers a step at once, and at most one per second", context do
      pain(context, 0.89)
      assert settled(context) == nil
      pain(context, 0.9)
      assert %{pain: %{probe: 0.9}, elapsed_ms: 1} = settled(context)
      pain(context, 1.0)
      assert %{pain: %{probe: 0.9}} = settled(context)
      Test.advance(:second)
      pain(context, 1.0)
      assert %{pain: %{probe: 1.0}} = settled(context)
    end

    test "sends at most one message to the controller", context do
      pid = Registry.whereis({:controller, Tree.fetch!(context.name), :low})
      :sys.suspend(pid)
      for _ <- 1..1_000, do: pain(context, 1.0)
      assert {:message_queue_len, 1} = Process.info(pid, :message_queue_len)
      :sys.resume(pid)
    end
  end

  describe "the option :source_cap" do
    test "caps the pain of a source, which then triggers no urgent step", context do
      name = {context.name, :capped}

      Task.await(
        Task.async(fn ->
          Process.delete(:"$callers")
          test = self()

          Test.start(
            name: name,
            vsm: [
              source_cap: 0.8,
              subsystems: [a: [limit: 1, per: :day, law: ScriptedLaw.options(test, key: name)]]
            ]
          )

          Algedonic.pain(:a, 1.0, instance: name, source: :loud)
          assert VSM.subsystem_metrics(name).a.pain == 0.8
          :sys.get_state(Registry.whereis({:controller, Tree.fetch!(name), :a}))
          refute_received {:step, _, _, _}
        end),
        :infinity
      )
    end
  end

  describe "subscribe/2" do
    test "sends a message when an alarm begins and ends, and none in between", context do
      instance = context.name
      :ok = Algedonic.subscribe(:pain, instance: instance)
      :ok = Algedonic.subscribe(:pain, instance: instance)
      pain(context, 0.4)
      refute_received {:algedonic, _, _}

      pain(context, 0.6, reason: "queue")

      assert_received {:algedonic, :pain,
                       %{
                         event: :began,
                         subsystem: :low,
                         level: 0.6,
                         source: :probe,
                         reason: "queue",
                         instance: ^instance
                       }}

      refute_received {:algedonic, _, _}
      again(3, fn -> pain(context, 0.9) end)
      again(3, fn -> pain(context, 0.3) end)
      refute_received {:algedonic, _, _}

      Test.advance(2_000)
      assert_received {:algedonic, :pain, %{event: :ended, subsystem: :low, level: level}}
      assert level < 0.25
      refute_received {:algedonic, _, _}

      pain(context, 0.5)
      assert_received {:algedonic, :pain, %{event: :began}}
    end

    test "is for one kind and one instance", context do
      :ok = Algedonic.subscribe(:pleasure, instance: context.name)
      :ok = Algedonic.subscribe(:pain, instance: :another)
      pain(context, 0.6)
      refute_received {:algedonic, _, _}
      Algedonic.pleasure(:low, 0.6, source: :probe, instance: context.name)
      assert_received {:algedonic, :pleasure, %{event: :began}}
    end

    test "ends with unsubscribe/2", context do
      :ok = Algedonic.subscribe(:pain, instance: context.name)
      :ok = Algedonic.unsubscribe(:pain, instance: context.name)
      :ok = Algedonic.unsubscribe(:pain, instance: context.name)
      pain(context, 0.6)
      refute_received {:algedonic, _, _}
    end

    test "raises for an unknown kind" do
      assert_raise ArgumentError, "kind: expected :pain or :pleasure, got: :joy", fn ->
        Algedonic.subscribe(:joy)
      end

      assert_raise ArgumentError, "kind: expected :pain or :pleasure, got: :joy", fn ->
        Algedonic.unsubscribe(:joy)
      end
    end
  end

  describe "unresolved pain" do
    setup context do
      listen([[:rate_limiter, :algedonic, :escalation]])
      test = self()
      handler = {__MODULE__, context.key}

      :telemetry.attach(
        handler,
        [:rate_limiter, :algedonic, :escalation],
        &__MODULE__.forward/4,
        {context.name, test}
      )

      on_exit(fn -> :telemetry.detach(handler) end)
    end

    test "is escalated to the parent after its patience, and from the root to subscribers",
         context do
      :ok = Algedonic.subscribe(:pain, instance: context.name)
      again(14, fn -> pain(context, 0.7) end)
      refute_received {:escalated, _, _}
      assert metrics(context, :top).pain == 0.0

      again(3, fn -> pain(context, 0.7) end)

      assert_received {:escalated, %{level: level},
                       %{subsystem: :low, to: :top, source: :probe, sentence: sentence}}

      assert level > 0.5
      assert sentence =~ ~r/^Pain of 0\.6\d? has lasted 15\.0 s at scale 1\.0\.$/
      assert_received {:algedonic, :pain, %{event: :escalated, subsystem: :low, to: :top}}
      assert %{sources: %{pain: %{{:child, :low} => _}}} = metrics(context, :top)

      again(25, fn -> pain(context, 0.7) end)
      assert_received {:escalated, _, %{subsystem: :top, to: nil}}
      assert_received {:algedonic, :pain, %{event: :escalated, subsystem: :top, to: nil}}
    end

    test "is escalated once per patience, and the parent's pain does not fade in between",
         context do
      again(29, fn -> pain(context, 0.7) end)
      assert_received {:escalated, _, %{subsystem: :low}}
      refute_received {:escalated, _, %{subsystem: :low}}
      assert metrics(context, :top).pain > 0.5
      again(3, fn -> pain(context, 0.7) end)
      assert_received {:escalated, _, %{subsystem: :low}}
    end

    test "is no longer escalated after the pain has ended", context do
      again(20, fn -> pain(context, 0.7) end)
      assert_received {:escalated, _, %{subsystem: :low}}
      Test.advance(30_000)
      refute_received {:escalated, _, _}
      assert metrics(context, :top).pain == 0.0
      again(14, fn -> pain(context, 0.7) end)
      refute_received {:escalated, _, _}
    end

    test "is escalated at once if the law can do no more", context do
      ScriptedLaw.say({context.key, :low}, %Decision{scale: 0.1, escalate?: true})
      pain(context, 0.7)
      Test.advance(:second)
      assert_received {:escalated, _, %{subsystem: :low, to: :top, sentence: sentence}}
      assert sentence =~ ~r/^The law can do no more about pain of 0\.\d+ at scale 0\.1\.$/
      Test.advance(:second)
      refute_received {:escalated, _, _}
    end
  end

  @doc false
  def forward(_event, measurements, %{instance: name} = metadata, {name, test}),
    do: send(test, {:escalated, measurements, metadata})

  def forward(_event, _measurements, _metadata, _other), do: :ok
end
