defmodule RateLimiter.AlgedonicTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Events, only: [listen: 1]

  alias RateLimiter.{Algedonic, Test, VSM}
  alias RateLimiter.Adaptive.{Decision, Fixed}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Support.ScriptedLaw
  alias RateLimiter.Test.Clock
  alias RateLimiter.VSM.{Table, Tree}

  # An instance of the test's own, since news go to all who subscribed to its name.
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

  # What the law was last shown.
  defp seen(context, subsystem \\ :low) do
    key = {context.key, subsystem}
    {:messages, messages} = Process.info(self(), :messages)
    List.last(for {:step, ^key, observation, _now} <- messages, do: observation)
  end

  defp again(seconds, fun), do: for(_ <- 1..seconds, do: {fun.(), Test.advance(:second)})

  describe "pain/3" do
    test "counts half after its half-life and nothing after its time to live", context do
      :ok = pain(context, 0.8)
      assert metrics(context).pain == 0.8
      Test.advance(5_000)
      assert_in_delta metrics(context).pain, 0.4, 1.0e-9
      Test.advance(4_999)
      assert metrics(context).pain > 0.0
      Test.advance(1)
      assert metrics(context).pain == 0.0
    end

    test "of one source is its last word, of several the strongest", context do
      pain(context, 0.8)
      pain(context, 0.3)
      Algedonic.pain(:low, 0.4, source: :other_probe, instance: context.name)
      assert %{pain: 0.4, sources: %{pain: %{probe: 0.3, other_probe: 0.4}}} = metrics(context)
      pain(context, 0)
      assert %{sources: %{pain: %{probe: 0.0}}} = metrics(context)
    end

    test "is its own subsystem's, whatever that is called" do
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

    test "of a process is told under its registered name, or its own", context do
      Algedonic.pain(:low, 0.2, instance: context.name)
      Process.register(self(), :algedonic_test_source)
      Algedonic.pain(:low, 0.4, instance: context.name)
      assert metrics(context).sources.pain == %{self() => 0.2, algedonic_test_source: 0.4}
    end

    test "of more sources than can be told apart is one source's", context do
      for n <- 1..500, do: Algedonic.pain(:low, 0.1, source: n, instance: context.name)
      Algedonic.pain(:low, 0.6, source: :late, instance: context.name)
      assert %{pain: 0.6, sources: %{pain: sources}} = metrics(context)
      assert map_size(sources) == 65
      assert sources.others == 0.6
    end

    test "is forgotten when it has ended, so that there is room again", context do
      for n <- 1..500, do: Algedonic.pain(:low, 0.1, source: n, instance: context.name)
      Test.advance(11_000)
      signals = Table.get(Tree.fetch!(context.name), :signals)
      assert :ets.info(signals, :size) == 0
    end

    test "is an event", context do
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

    test "that is no level raises, and so does a subsystem that is not there", context do
      for level <- [-0.1, 1.1, 80, :high, nil, "0.5"] do
        assert_raise ArgumentError,
                     "level: expected a number from 0.0 to 1.0, got: #{inspect(level)}",
                     fn ->
                       pain(context, level)
                     end
      end

      assert_raise ArgumentError,
                   ~r/^unknown subsystem :othr of .*, did you mean :other\? Known are :top, :low and :other$/,
                   fn ->
                     Algedonic.pain(:othr, 0.5, instance: context.name)
                   end

      assert_raise ArgumentError, ~r/unknown option :soruce, did you mean :source\?/, fn ->
        pain(context, 0.5, soruce: 1)
      end
    end

    test "is shown to the law, and a denial is not", context do
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
    test "counts and fades as pain does", context do
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

  describe "pain that cannot wait" do
    # The controller takes its step in its own time: it is asked something, and answers after it.
    defp settled(context) do
      Clock.await({:controller, Tree.fetch!(context.name), :low})
      seen(context)
    end

    test "has the law step at once, but once a second", context do
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

    test "does not fill the controller's mailbox", context do
      pid = Registry.whereis({:controller, Tree.fetch!(context.name), :low})
      :sys.suspend(pid)
      for _ <- 1..1_000, do: pain(context, 1.0)
      assert {:message_queue_len, 1} = Process.info(pid, :message_queue_len)
      :sys.resume(pid)
    end
  end

  describe "a source's cap" do
    test "is the most that its pain counts, and the law is not called for more", context do
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

  describe "a source that says the worst without end" do
    test "may hold the limit and not lower it; it is named, and heard again when it says less",
         context do
      again(31, fn -> pain(context, 1.0) end)
      assert %{pain: %{probe: held}} = seen(context)
      assert_in_delta held, 0.13, 1.0e-9
      assert metrics(context).contained == [:probe]

      assert [%{held_by: {:contained, :probe}, binding: {:pain, :probe}, sentence: sentence}] =
               VSM.explain(:low, context.name)

      assert sentence ==
               ":probe has reported pain of 0.9 or more for 30.0 s: it may hold the scale at 1.0, but no longer lower it."

      pain(context, 0.6)
      Test.advance(:second)
      assert %{pain: %{probe: heard}} = seen(context)
      assert heard > 0.5
      assert metrics(context).contained == []
    end

    test "is not heard where another source says that all is well", context do
      again(31, fn ->
        pain(context, 1.0)
        Algedonic.pain(:low, 0.0, source: :sane, instance: context.name)
      end)

      assert %{pain: none} = seen(context)
      assert none == %{}
      assert [%{sentence: sentence}] = VSM.explain(:low, context.name)

      assert sentence =~
               "it is ignored until it reports less than 0.7, because all other signals are healthy"
    end

    test "is not heard where reported work goes well", context do
      work = fn ->
        for(_ <- 1..12, do: VSM.run(:low, "a", fn -> Test.advance(2) end, instance: context.name))
      end

      again(3, work)

      again(35, fn ->
        pain(context, 1.0)
        work.()
      end)

      assert %{pain: none} = seen(context)
      assert none == %{}
      assert metrics(context).contained == [:probe]
    end

    test "is still heard where the work does not go well", context do
      again(3, fn ->
        for(_ <- 1..12, do: VSM.run(:low, "a", fn -> Test.advance(2) end, instance: context.name))
      end)

      again(35, fn ->
        pain(context, 1.0)

        for(
          _ <- 1..12,
          do: VSM.run(:low, "a", fn -> Test.advance(20) end, instance: context.name)
        )
      end)

      assert %{pain: %{probe: held}} = seen(context)
      assert_in_delta held, 0.13, 1.0e-9
    end

    test "is not one that wavers around the line, but one that never says clearly less",
         context do
      again(40, fn -> pain(context, Enum.random([0.72, 0.95])) end)
      assert metrics(context).contained == [:probe]
    end

    test "is contained with the others of its subsystem still heard", context do
      again(31, fn ->
        pain(context, 1.0)
        Algedonic.pain(:low, 0.5, source: :real, instance: context.name)
      end)

      assert %{pain: %{probe: held, real: heard}} = seen(context)
      assert held < 0.14 and heard > 0.4
    end
  end

  describe "subscribe/2" do
    test "tells when an alarm begins and ends, and not in between", context do
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

    test "hears of its own kind and instance alone", context do
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

    test "knows two kinds" do
      assert_raise ArgumentError, "kind: expected :pain or :pleasure, got: :joy", fn ->
        Algedonic.subscribe(:joy)
      end

      assert_raise ArgumentError, "kind: expected :pain or :pleasure, got: :joy", fn ->
        Algedonic.unsubscribe(:joy)
      end
    end
  end

  describe "pain that is not resolved" do
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

    test "goes to the parent in its patience, and from the root to who listens", context do
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

    test "is said once a patience, and the parent's does not fade in between", context do
      again(29, fn -> pain(context, 0.7) end)
      assert_received {:escalated, _, %{subsystem: :low}}
      refute_received {:escalated, _, %{subsystem: :low}}
      assert metrics(context, :top).pain > 0.5
      again(3, fn -> pain(context, 0.7) end)
      assert_received {:escalated, _, %{subsystem: :low}}
    end

    test "is over when it is over", context do
      again(20, fn -> pain(context, 0.7) end)
      assert_received {:escalated, _, %{subsystem: :low}}
      Test.advance(30_000)
      refute_received {:escalated, _, _}
      assert metrics(context, :top).pain == 0.0
      again(14, fn -> pain(context, 0.7) end)
      refute_received {:escalated, _, _}
    end

    test "is told at once where the law can do no more", context do
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
