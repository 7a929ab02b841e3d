defmodule RateLimiter.VSMTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Events, only: [listen: 1]

  alias RateLimiter.{Test, Usage, VSM}
  alias RateLimiter.Adaptive.{Decision, Fixed}
  alias RateLimiter.Support.ScriptedLaw
  alias RateLimiter.VSM.{Gate, Tree}

  defmodule Doctest do
    use ExUnit.Case, async: true

    setup do
      Test.start(vsm: true)
    end

    doctest VSM
    doctest RateLimiter.Algedonic
    doctest RateLimiter.Health
  end

  @subsystems [
    front: [limit: 10, per: :second, law: Fixed],
    back: [limit: 5, per: :minute, law: Fixed, dry_run: true],
    quiet: [limit: 5, per: :minute, law: Fixed, events: :none]
  ]

  setup do
    Test.start(vsm: [subsystems: @subsystems])
  end

  defp gate(name \\ :front), do: Tree.subsystem!(RateLimiter, name).gate
  defp in_flight(name \\ :front), do: VSM.subsystem_metrics()[name].in_flight
  defp work, do: gate() |> Gate.drain() |> elem(0)

  describe "check_subsystem_limit/3" do
    test "has one bucket a subsystem, whoever asks" do
      for n <- 1..10, do: assert({:ok, _} = VSM.check_subsystem_limit(:front, {:source, n}))
      assert {:error, :rate_limited, usage} = VSM.check_subsystem_limit(:front, "another")

      assert %Usage{limiter: :front, window: :rate, max: 10, remaining: 0, retry_after_ms: 100} =
               usage
    end

    test "is of any name, also of one that something else has in here" do
      names = ~w(all source emergency instance clock config signals agreement gate loops sensors)a
      subsystems = for name <- names, do: {name, [limit: 9, per: :second, law: Fixed]}

      task =
        Task.async(fn ->
          Process.delete(:"$callers")
          Test.start(vsm: [subsystems: subsystems])
          # What nobody owns is gone after this.
          :erlang.garbage_collect()
          for name <- names, do: {:ok, 1} = VSM.run(name, "a", fn -> 1 end)
          for name <- names, do: {:ok, _} = VSM.check_subsystem_limit(name, name, emergency: true)
          Test.advance(:second)
          map_size(VSM.subsystem_metrics())
        end)

      assert Task.await(task, :infinity) == length(names)
    end

    test "says the truth about when to come back" do
      {:ok, _} = VSM.check_subsystem_limit(:back, "a", cost: 5)
      {:error, :rate_limited, %{retry_after_ms: wait}} = VSM.check_subsystem_limit(:back, "a")
      Test.advance(wait - 1)
      assert {:error, :rate_limited, %{retry_after_ms: 1}} = VSM.check_subsystem_limit(:back, "a")
      Test.advance(1)
      assert {:ok, _} = VSM.check_subsystem_limit(:back, "a")
    end

    test "takes costs as the door does" do
      assert {:ok, %{remaining: 3}} = VSM.check_subsystem_limit(:front, "a", cost: 7)
      assert {:ok, %{remaining: 3}} = VSM.check_subsystem_limit(:front, "a", cost: 0)

      for cost <- [-1, 11, 1_000_000_000_000_000_000_000] do
        assert {:error, :rate_limited, %{cost: ^cost, retry_after_ms: :infinity}} =
                 VSM.check_subsystem_limit(:front, "a", cost: cost)
      end
    end

    test "turns away the share of calls that this node's gate does not let go on, and takes nothing of them" do
      Gate.set_open(gate(), 0.5)
      answers = for _ <- 1..10, do: VSM.check_subsystem_limit(:front, "a")
      assert Enum.count(answers, &match?({:ok, _}, &1)) == 5

      assert {:error, :rate_limited, %Usage{window: :gate, max: 10, retry_after_ms: 1_000}} =
               Enum.find(answers, &match?({:error, _, _}, &1))

      assert %{shed: 5, asked: 10, usage: %{current: 5}} = VSM.subsystem_metrics().front
    end

    test "makes the events of a call, and tells no id" do
      listen([[:rate_limiter, :check], [:rate_limiter, :violation]])
      {:ok, _} = VSM.check_subsystem_limit(:front, "ann")

      assert_received {:event, [:rate_limiter, :check], _,
                       %{limiter: :front, window: :rate, result: :allowed}}

      {:error, :rate_limited, _} = VSM.check_subsystem_limit(:front, "ann", cost: 11)

      assert_received {:event, [:rate_limiter, :violation], _,
                       %{limiter: :front, id_hash: <<_::16-bytes>>}}
    end

    test "makes no event of the calls that its options leave out, whatever turns them away" do
      listen([[:rate_limiter, :check], [:rate_limiter, :violation]])
      {:error, :rate_limited, %{window: :rate}} = VSM.check_subsystem_limit(:quiet, "a", cost: 9)
      Gate.set_guard(gate(:quiet), 1)

      {:ok, {:error, :rate_limited, %{window: :in_flight}}} =
        VSM.run(:quiet, "a", fn -> VSM.run(:quiet, "a", fn -> flunk("ran") end) end)

      Gate.set_open(gate(:quiet), 0.0)
      for _ <- 1..2, do: VSM.check_subsystem_limit(:quiet, "a")
      for _ <- 1..3, do: assert_received({:event, [:rate_limiter, :violation], _, _})
      refute_received {:event, [:rate_limiter, :check], _, _}
    end

    test "raises where it is misused, and says what there is" do
      for {message, call} <- [
            {"unknown subsystem :frnt of RateLimiter, did you mean :front? Known are :front, :back and :quiet",
             fn -> VSM.check_subsystem_limit(:frnt, "a") end},
            {"id must not be nil, because all callers without an id would share one limit. Pass the identity of the caller " <>
               "(a user id, an address, a tenant), or an explicit shared id such as :anonymous",
             fn -> VSM.check_subsystem_limit(:front, nil) end},
            {"expected an id (a binary, an integer, an atom other than nil, or a tuple or list of these), got: %{}",
             fn -> VSM.run(:front, %{}, fn -> :never end) end},
            {"cost: expected an integer, got: 1.5",
             fn -> VSM.check_subsystem_limit(:front, "a", cost: 1.5) end},
            {"options: unknown option :cots, did you mean :cost?",
             fn -> VSM.check_subsystem_limit(:front, "a", cots: 1) end},
            {"no instance :nobody is running on this node, running instances: RateLimiter",
             fn -> VSM.check_subsystem_limit(:front, "a", instance: :nobody) end},
            {"expected a zero-arity function, got: :work", fn -> VSM.run(:front, "a", :work) end},
            {"expected a zero-arity function, got: #Function<",
             fn -> VSM.run(:front, "a", fn _ -> :never end, cost: 2) end}
          ] do
        assert Exception.message(catch_error(call.())) =~ message
      end
    end
  end

  describe "run/4" do
    test "gives the result, and takes the duration as a sample" do
      assert VSM.run(:front, "a", fn -> Test.advance(40) && :done end) == {:ok, :done}
      assert %{ok: 1, errors: 0, latency: %{count: 1, sum_us: 40_000}} = work()
      assert in_flight() == 0
    end

    test "counts each way to end as what it says, and lets it pass" do
      denial =
        {:error, :rate_limited, %Usage{limiter: :x, window: :w, max: 1, current: 1, remaining: 0}}

      for {fun, outcome, passed} <- [
            {fn -> {:error, :nxdomain} end, :errors, {:ok, {:ok, {:error, :nxdomain}}}},
            {fn -> raise "boom" end, :errors, {:error, %RuntimeError{message: "boom"}}},
            {fn -> throw(:ball) end, :errors, {:throw, :ball}},
            {fn -> exit(:crash) end, :errors, {:exit, :crash}},
            {fn -> exit({:noproc, {GenServer, :call, []}}) end, :errors,
             {:exit, {:noproc, {GenServer, :call, []}}}},
            {fn -> exit({:timeout, {GenServer, :call, []}}) end, :timeouts,
             {:exit, {:timeout, {GenServer, :call, []}}}},
            {fn -> exit(:timeout) end, :timeouts, {:exit, :timeout}},
            {fn -> exit(:normal) end, nil, {:exit, :normal}},
            {fn -> exit(:shutdown) end, nil, {:exit, :shutdown}},
            {fn -> exit({:shutdown, :told}) end, nil, {:exit, {:shutdown, :told}}},
            {fn -> exit({{:shutdown, :told}, {GenServer, :call, []}}) end, nil,
             {:exit, {{:shutdown, :told}, {GenServer, :call, []}}}},
            {fn -> denial end, nil, {:ok, {:ok, denial}}}
          ] do
        assert caught(fn -> VSM.run(:front, "a", fun) end) == passed
        work = work()

        counted =
          for key <- [:ok, :errors, :timeouts, :rejected],
              Map.fetch!(work, key) > 0,
              do: {key, Map.fetch!(work, key)}

        assert counted == if(outcome, do: [{outcome, 1}], else: [])
        assert work.latency.count == 0
        assert in_flight() == 0
        Test.advance(:second)
      end
    end

    defp caught(fun) do
      {:ok, fun.()}
    catch
      kind, reason -> {kind, reason}
    end

    test "keeps the stack trace of what went wrong" do
      VSM.run(:front, "a", fn -> raise ArgumentError, "x" end)
    rescue
      ArgumentError -> assert [{__MODULE__, _fun, 0, _} | _] = __STACKTRACE__
    end

    test "lets the caller say how it ended" do
      VSM.run(:front, "a", fn -> 503 end, outcome: fn 503 -> :rejected end)
      VSM.run(:front, "a", fn -> {:error, :not_found} end, outcome: :ok)
      VSM.run(:front, "a", fn -> :whatever end, outcome: :none)
      assert %{ok: 1, rejected: 1, errors: 0} = work()

      assert_raise ArgumentError,
                   "outcome: expected the function to return one of :ok, :error, :timeout, :rejected, :none, got: :fine",
                   fn -> VSM.run(:front, "a", fn -> 1 end, outcome: fn 1 -> :fine end) end

      assert in_flight() == 0
    end

    test "does not run what the limit denies" do
      assert {:error, :rate_limited, %{window: :rate}} =
               VSM.run(:front, "a", fn -> flunk("ran") end, cost: 11)

      assert in_flight() == 0
      assert %{denied: 1, asked: 1, abandoned: 0} = VSM.subsystem_metrics().front
    end

    test "does not run more at once than the guard allows, and takes nothing from the limit of who waits" do
      Gate.set_guard(gate(), 2)

      nested = fn again -> VSM.run(:front, "a", again) end

      assert {:ok, {:ok, {:error, :rate_limited, usage}}} =
               nested.(fn -> nested.(fn -> nested.(fn -> flunk("ran") end) end) end)

      assert %Usage{window: :in_flight, max: 2, current: 2, remaining: 0, limiter: :front} = usage
      assert usage.retry_after_ms > 0
      assert %{guarded: 1, in_flight: 0, usage: %{current: 2}} = VSM.subsystem_metrics().front
    end

    test "gives the place back of a caller that is killed" do
      test = self()

      killed =
        spawn(fn ->
          receive do: (:go -> :ok)
          VSM.run(:front, "a", fn -> send(test, :running) && Process.sleep(:infinity) end)
        end)

      Test.allow(test, killed)
      send(killed, :go)
      assert_receive :running, 30_000
      assert in_flight() == 1
      Process.exit(killed, :kill)
      assert eventually(fn -> in_flight() == 0 end)
      assert %{abandoned: 1} = VSM.subsystem_metrics().front
      assert %{ok: 0, errors: 0, timeouts: 0} = work()
    end

    test "holds its place through the garbage collections of the work" do
      VSM.run(:front, "a", fn ->
        for _ <- 1..5, do: :erlang.garbage_collect()
        assert in_flight() == 1
      end)

      assert in_flight() == 0
    end
  end

  # What the runtime does in its own time.
  defp eventually(fun, tries \\ 20_000)
  defp eventually(_fun, 0), do: false

  defp eventually(fun, tries),
    do: fun.() || (:erlang.yield() && Process.sleep(1) && eventually(fun, tries - 1))

  describe "run/4, whatever callers do" do
    # A small generator of histories: what each of many callers does, in which order, under a guard that moves.
    test "no place in flight is ever lost or given back twice" do
      for seed <- 1..60 do
        :rand.seed(:exsss, {seed, 2, 3})
        history(seed)
      end
    end

    defp history(seed) do
      Test.advance({1, :minute})

      callers =
        Enum.reduce(1..40, %{}, fn _, callers ->
          act(Enum.random([:start, :start, :end, :guard, :check]), callers, seed)
        end)

      for {pid, ref} <- callers, do: finish(pid, ref, Enum.random([:return, :kill]))
      assert eventually(fn -> in_flight() == 0 end), "seed #{seed}"
    end

    defp act(:start, callers, _seed) do
      test = self()
      guard = VSM.subsystem_metrics().front.guard

      {pid, ref} = spawn_monitor(fn -> call(test) end)
      Test.allow(test, pid)
      send(pid, :go)

      receive do
        {^pid, :running} ->
          assert guard == :infinity or map_size(callers) < guard
          Map.put(callers, pid, ref)

        {^pid, {:error, :rate_limited, %{window: window}}} ->
          assert window == :rate or map_size(callers) >= guard
          assert_receive {:DOWN, ^ref, _, _, _}, 30_000
          callers
      after
        30_000 -> flunk("neither")
      end
    end

    defp act(:end, callers, _seed) when callers == %{}, do: callers

    defp act(:end, callers, seed) do
      {pid, ref} = Enum.random(callers)
      finish(pid, ref, Enum.random([:return, :raise, :throw, :exit, :kill, :error]))
      callers = Map.delete(callers, pid)
      assert eventually(fn -> in_flight() == map_size(callers) end), "seed #{seed}"
      callers
    end

    defp act(:guard, callers, _seed) do
      Gate.set_guard(gate(), Enum.random([:infinity, 1, 3, 8]))
      callers
    end

    defp act(:check, callers, _seed) do
      assert in_flight() == map_size(callers)
      callers
    end

    defp call(test) do
      receive do: (:go -> :ok)

      answer =
        VSM.run(:front, "a", fn ->
          send(test, {self(), :running})

          receive do
            :return -> :ok
            :error -> {:error, :failed}
            :raise -> throw(:raised)
            :throw -> throw(:ball)
            :exit -> exit(:shutdown)
          end
        end)

      send(test, {self(), answer})
    catch
      _kind, _reason -> :ok
    end

    defp finish(pid, ref, :kill) do
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^ref, _, _, :killed}, 30_000
    end

    defp finish(pid, ref, how) do
      send(pid, how)
      assert_receive {:DOWN, ^ref, _, _, :normal}, 30_000
      if how == :return, do: assert_received({^pid, {:ok, :ok}})
      if how == :error, do: assert_received({^pid, {:ok, {:error, :failed}}})
    end
  end

  describe "an emergency" do
    test "takes from a budget of its own: one a second, and a source gets a fifth of it" do
      {:error, :rate_limited, _} = VSM.check_subsystem_limit(:back, "a", cost: 6)
      {:ok, _} = VSM.check_subsystem_limit(:back, "a", cost: 5)

      assert {:ok, %{window: :bypass, max: 1}} =
               VSM.check_subsystem_limit(:back, "a", emergency: true)

      assert {:error, :rate_limited, %{window: :rate}} =
               VSM.check_subsystem_limit(:back, "b", emergency: true)

      Test.advance(:second)
      assert {:error, :rate_limited, _} = VSM.check_subsystem_limit(:back, "a", emergency: true)
      assert {:ok, %{window: :bypass}} = VSM.check_subsystem_limit(:back, "b", emergency: true)
      Test.advance({4, :second})
      assert {:ok, %{window: :bypass}} = VSM.check_subsystem_limit(:back, "a", emergency: true)
      assert VSM.subsystem_metrics().back.emergencies == 3
    end

    test "takes from no more than a hundredth of all limits, where that is no whole number" do
      task =
        Task.async(fn ->
          Process.delete(:"$callers")
          Test.start(vsm: [subsystems: [all: [limit: 172, per: :second, law: Fixed]]])

          for n <- 1..200 do
            {:ok, usage} = VSM.check_subsystem_limit(:all, n, emergency: true)
            Test.advance(50)
            usage.window
          end
        end)

      # 1.72 a second are one in 582 ms; who asks every 50 ms gets one in 600 ms.
      assert %{bypass: 17} = task |> Task.await(:infinity) |> Enum.frequencies()
    end

    test "goes through the usual limit when the budget is spent" do
      {:ok, _} = VSM.check_subsystem_limit(:front, "a", emergency: true)
      assert {:ok, %{window: :rate}} = VSM.check_subsystem_limit(:front, "a", emergency: true)
    end

    test "is not shed, not guarded and not scaled" do
      Gate.set_open(gate(), 0.0)
      Gate.set_guard(gate(), 1)
      Gate.set_scale(Tree.subsystem!(RateLimiter, :front).limiter, 0.1)

      assert {:ok, {:ok, 2}} =
               VSM.run(
                 :front,
                 "a",
                 fn ->
                   Test.advance({5, :second}) &&
                     VSM.run(:front, "b", fn -> in_flight() end, emergency: true)
                 end,
                 emergency: true
               )

      assert in_flight() == 0
    end

    test "is an event each time, which tells no id" do
      listen([[:rate_limiter, :algedonic, :bypass]])
      VSM.run(:front, "ann", fn -> :ok end, emergency: true)
      VSM.check_subsystem_limit(:front, "ann", emergency: true)

      for result <- [:granted, :spent] do
        assert_received {:event, _, %{cost: 1, remaining: 0},
                         %{result: ^result, subsystem: :front, id_hash: <<_::16-bytes>>}}
      end
    end

    test "is nothing that a usual call is" do
      listen([[:rate_limiter, :algedonic, :bypass]])
      VSM.check_subsystem_limit(:front, "a")
      refute_received {:event, _, _, _}
    end
  end

  describe "the law's word" do
    setup context do
      key = context.test
      # A test of its own process's space: this one was given the other subsystems.
      parent = self()

      run = fn body ->
        task =
          Task.async(fn ->
            Process.delete(:"$callers")

            Test.start(
              vsm: [
                subsystems: [
                  top: [
                    limit: 100,
                    per: :second,
                    law: ScriptedLaw.options(parent, key: {key, :top})
                  ],
                  below: [
                    limit: 50,
                    per: :second,
                    parent: :top,
                    law: ScriptedLaw.options(parent, key: {key, :below})
                  ],
                  dry: [
                    limit: 50,
                    per: :second,
                    dry_run: true,
                    law: ScriptedLaw.options(parent, key: {key, :dry})
                  ]
                ]
              ]
            )

            body.(key)
          end)

        Task.await(task, :infinity)
      end

      on_exit(fn ->
        for name <- [:top, :below, :dry], do: :persistent_term.erase({ScriptedLaw, {key, name}})
      end)

      %{own: run}
    end

    test "is on the limit when the next call asks, and explained", %{own: own} do
      own.(fn key ->
        ScriptedLaw.say({key, :top}, %Decision{
          scale: 0.5,
          from: 1.0,
          guard: 7,
          action: :cut,
          stress: 0.8,
          binding: :queue,
          news?: true,
          sentence: "because"
        })

        Test.advance(:second)
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
                   dry_run: false
                 } = entry
               ] = VSM.explain(:top)

        assert entry.at == ~U[2025-01-01 00:00:01.000000Z]
      end)
    end

    test "is an event", %{own: own} do
      listen([[:rate_limiter, :vsm, :adaptation]])
      handler = {__MODULE__, self()}
      test = self()
      :telemetry.attach(handler, [:rate_limiter, :vsm, :adaptation], &__MODULE__.forward/4, test)
      on_exit(fn -> :telemetry.detach(handler) end)

      own.(fn key ->
        ScriptedLaw.say({key, :top}, %Decision{
          scale: 0.5,
          from: 1.0,
          action: :cut,
          news?: true,
          sentence: to_string(key)
        })

        Test.advance(:second)
        Test.advance(:second)
      end)

      sentence = "test the law's word is an event"

      assert_received {:forwarded, %{from: 1.0, to: 0.5, stress: 0.0},
                       %{sentence: ^sentence, subsystem: :top, action: :cut} = metadata}

      assert metadata.instance == RateLimiter
    end

    test "of a parent holds for all below it, and the least of the line counts", %{own: own} do
      own.(fn key ->
        ScriptedLaw.say({key, :top}, %Decision{scale: 0.4})
        ScriptedLaw.say({key, :below}, %Decision{scale: 0.8})
        Test.advance(:second)

        assert %{top: %{scale: 0.4}, below: %{scale: 0.4, own_scale: 0.8}, dry: %{scale: 1.0}} =
                 VSM.subsystem_metrics()

        ScriptedLaw.say({key, :below}, %Decision{scale: 0.2})
        Test.advance(:second)
        assert %{top: %{scale: 0.4}, below: %{scale: 0.2}} = VSM.subsystem_metrics()
        ScriptedLaw.say({key, :top}, %Decision{scale: 1.0})
        Test.advance(:second)
        assert %{top: %{scale: 1.0}, below: %{scale: 0.2}} = VSM.subsystem_metrics()
      end)
    end

    test "of a dry run is computed and explained, and not applied", %{own: own} do
      own.(fn key ->
        ScriptedLaw.say({key, :dry}, %Decision{
          scale: 0.1,
          guard: 4,
          action: :cut,
          news?: true,
          sentence: "dry"
        })

        Test.advance(:second)

        assert %{scale: 1.0, own_scale: 1.0, asked_scale: 0.1, guard: :infinity, dry_run: true} =
                 VSM.subsystem_metrics().dry

        assert [%{dry_run: true, to: 0.1, sentence: "dry"}] = VSM.explain(:dry)
      end)
    end

    test "is asked with what was seen since the last step", %{own: own} do
      own.(fn key ->
        Test.advance(:second)
        VSM.run(:top, "a", fn -> Test.advance(30) end)
        VSM.run(:top, "a", fn -> {:error, :x} end)
        VSM.check_subsystem_limit(:top, "a", cost: 1_000)
        RateLimiter.Algedonic.pain(:top, 0.5, source: :probe)
        RateLimiter.Algedonic.pleasure(:top, 0.25, source: :probe)
        Test.advance(970)
        top = {key, :top}
        send(self(), :collected)
        observations = collect(top)
        observation = List.last(observations)

        assert %{limit: 100.0, elapsed_ms: 1_000, asked: 3, denied: 1, guarded: 0, in_flight: 0} =
                 observation

        assert %{ok: 1, errors: 1, timeouts: 0, rejected: 0, latency: %{count: 1, sum_us: 30_000}} =
                 observation.fresh

        assert %{probe: level} = observation.pain
        assert_in_delta level, 0.5 * :math.pow(0.5, 970 / 5_000), 1.0e-9
        assert %{probe: _} = observation.pleasure
      end)
    end

    # The law reports to the process that started the test.
    defp collect(key) do
      [parent | _] = Process.get(:"$ancestors")
      send(parent, {:collect, key, self()})
      {:messages, messages} = Process.info(parent, :messages)
      for {:step, ^key, observation, _now} <- messages, do: observation
    end

    test "that is none leaves the scale as it is, says so, and is asked anew", %{own: own} do
      own.(fn key ->
        ScriptedLaw.say({key, :top}, %Decision{scale: 0.5})
        Test.advance(:second)
        ScriptedLaw.say({key, :top}, fn _state, _observation -> raise "a law of somebody's" end)
        Test.advance(:second)
        assert VSM.subsystem_metrics().top.scale == 0.5
        assert [%{held_by: :law_failed, sentence: sentence}] = VSM.explain(:top)

        assert sentence ==
                 "The law raised RuntimeError (a law of somebody's): the scale stays 0.5."

        ScriptedLaw.say({key, :top}, fn state, _observation ->
          %Decision{scale: state.scale + 0.1}
        end)

        Test.advance(:second)
        assert VSM.subsystem_metrics().top.scale == 0.6
      end)
    end

    test "that ends in another way than with a decision says so, too", %{own: own} do
      own.(fn key ->
        for {law, sentence} <- [
              {fn _, _ -> throw(:ball) end, "The law threw :ball: the scale stays 1.0."},
              {fn _, _ -> exit(:timeout) end,
               "The law exited with :timeout: the scale stays 1.0."},
              {fn _, _ -> %Decision{scale: :half} end,
               "The law raised ArgumentError (expected a number as the scale, got: :half): the scale stays 1.0."}
            ] do
          ScriptedLaw.say({key, :top}, law)
          Test.advance(:second)
          assert [%{held_by: :law_failed, sentence: ^sentence} | _] = VSM.explain(:top)
          assert VSM.subsystem_metrics().top.scale == 1.0
        end
      end)
    end

    test "that goes on failing leaves room for what happened before", %{own: own} do
      own.(fn key ->
        ScriptedLaw.say({key, :top}, %Decision{scale: 0.5, action: :cut, news?: true})
        Test.advance(:second)
        ScriptedLaw.say({key, :top}, fn _, _ -> raise "again" end)
        Test.advance({40, :second})
        assert [%{held_by: :law_failed, steps: 40}, %{action: :cut}] = VSM.explain(:top)
      end)
    end

    test "is kept between the floor and the ceiling, whosever law it is", %{own: own} do
      own.(fn key ->
        for {said, applied} <- [{7.5, 1.0}, {-1, 0.1}, {1.0e300, 1.0}, {0.4, 0.4}] do
          ScriptedLaw.say({key, :top}, %Decision{scale: said})
          Test.advance(:second)
          assert VSM.subsystem_metrics().top.scale == applied
        end
      end)
    end

    test "after a cut tells work that began before it apart", %{own: own} do
      own.(fn key ->
        ScriptedLaw.say({key, :top}, %Decision{scale: 0.5, action: :cut})

        VSM.run(:top, "a", fn ->
          Test.advance(:second)
          VSM.run(:top, "b", fn -> :ok end)
        end)

        ScriptedLaw.say({key, :top}, %Decision{scale: 0.5})
        Test.advance(:second)
        assert %{fresh: %{ok: 1}, earlier: %{ok: 1}} = {key, :top} |> collect() |> List.last()
      end)
    end

    test "that is a way in many small steps is one entry, which tells where it began", %{own: own} do
      own.(fn key ->
        say = fn action, from, to ->
          ScriptedLaw.say(
            {key, :top},
            %Decision{
              scale: to,
              from: from,
              action: action,
              news?: true,
              sentence: "#{action} #{to}"
            }
          )

          Test.advance(:second)
        end

        say.(:cut, 1.0, 0.5)
        say.(:cut, 0.5, 0.49)
        say.(:cut, 0.49, 0.48)
        say.(:cut, 0.48, 0.3)
        for n <- 1..50, do: say.(:grow, 0.3 + (n - 1) / 100, 0.3 + n / 100)

        assert [
                 %{
                   action: :grow,
                   from: 0.3,
                   steps: 50,
                   sentence: "grow 0.8",
                   since: ~U[2025-01-01 00:00:05.000000Z]
                 },
                 %{action: :cut, from: 0.48, to: 0.3, steps: 1},
                 %{action: :cut, from: 1.0, to: 0.48, steps: 3}
               ] = VSM.explain(:top)
      end)
    end

    test "is kept for the last 32 changes, the newest first", %{own: own} do
      own.(fn key ->
        for n <- 1..40 do
          ScriptedLaw.say({key, :top}, %Decision{scale: n / 40, news?: true, sentence: "#{n}"})
          Test.advance(:second)
        end

        explained = VSM.explain(:top)
        assert Enum.map(explained, & &1.sentence) == for(n <- 40..9, do: "#{n}")
        assert Enum.all?(explained, &(&1.steps == 1 and &1.since == &1.at))
      end)
    end
  end

  @doc false
  def forward(_event, measurements, metadata, test),
    do: send(test, {:forwarded, measurements, metadata})
end
