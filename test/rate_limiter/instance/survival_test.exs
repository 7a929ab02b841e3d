defmodule RateLimiter.Instance.SurvivalTest do
  # An instance outlives each of its processes, and those that all instances share. The processes are read from the
  # supervision trees, so that a new one is killed here, too. Not at once with other tests: their processes are killed.
  use ExUnit.Case, async: false

  import RateLimiter.Support.{Eventually, Processes}

  alias RateLimiter.{Algedonic, Health, Instance, VSM}

  @moduletag :capture_log

  @windows [w: [limit: 1_000_000, per: :day], v: [algorithm: :sliding_log, limit: 10, per: :day]]

  @stores [local: :local, redis: {:redis, url: "redis://127.0.0.1:1", timeout: 5}]

  # The errors that callers may see while a process restarts.
  @documented ~r/^(no instance |unknown limiter )/

  defp start(name, store) do
    options = [
      name: name,
      store: store,
      limiters: [{limiter(name), [windows: @windows]}],
      vsm: [subsystems: [s1: [], s2: [], s3: [], s4: [], s5: [], own: own()]],
      stats_interval: 1_000
    ]

    supervisor = start_supervised!({RateLimiter, options})
    {:ok, _} = RateLimiter.check_and_track(limiter(name), "kept", :v, cost: 3)
    :ok = Algedonic.subscribe(:pain, instance: name)
    supervisor
  end

  defp own, do: [limit: 10, per: :day, health: {[:survival, :work], fn _, _ -> {:ok, 1} end}]

  defp limiter(name), do: :"survival_#{name}"

  # Every process below a supervisor as the path of its ids.
  defp tree(supervisor, path \\ []) do
    Enum.flat_map(children(supervisor), fn
      # The limiters of a test that has just ended: they are not restarted.
      {:undefined, _pid, _type, _modules} -> []
      {id, pid, :supervisor, _} -> [{[id | path], pid} | tree(pid, [id | path])]
      {id, pid, :worker, _} when is_pid(pid) -> [{[id | path], pid}]
      _ignored -> []
    end)
  end

  defp children(supervisor) do
    Supervisor.which_children(supervisor)
  catch
    # It has just been killed.
    :exit, _ -> []
  end

  # Each public function that works on a running instance.
  defp calls(name) do
    limiter = limiter(name)

    [
      fn -> RateLimiter.check_and_track(limiter, "u", :w) end,
      fn -> RateLimiter.allow?(limiter, "u", :w) end,
      fn -> RateLimiter.await(limiter, "u", :w, timeout: 0) end,
      fn -> RateLimiter.await(limiter, "u", :v, timeout: 1, cost: 10) end,
      fn -> RateLimiter.check_batch(limiter, [{"u", 1}], [:w, :v]) end,
      fn -> RateLimiter.peek(limiter, "u") end,
      fn -> RateLimiter.get_usage(limiter, "u") end,
      fn -> RateLimiter.get_usage_batch(limiter, ["u"]) end,
      fn -> RateLimiter.refund(limiter, "u", :w) end,
      fn -> RateLimiter.reset(limiter, "u") end,
      fn -> RateLimiter.update_limit(limiter, :w, limit: 1_000_000) end,
      fn -> RateLimiter.add_limiter(:survival_added, [windows: @windows], name) end,
      fn -> RateLimiter.remove_limiter(:survival_added) end,
      fn -> RateLimiter.limiters(name) end,
      fn -> RateLimiter.health_check(name) end,
      fn -> RateLimiter.stats(name) end,
      fn -> VSM.check_subsystem_limit(:s1, "u", instance: name) end,
      fn -> VSM.check_subsystem_limit(:s1, "u", instance: name, emergency: true) end,
      fn -> VSM.run(:s2, "u", fn -> :done end, instance: name) end,
      fn -> VSM.subsystem_metrics(name) end,
      fn -> VSM.explain(:s1, name) end,
      fn -> Algedonic.pain(:s3, 0.95, instance: name, source: :test) end,
      fn -> Algedonic.pleasure(:s3, 0.1, instance: name) end,
      fn -> Algedonic.subscribe(:pleasure, instance: name) end,
      fn -> Algedonic.unsubscribe(:pleasure, instance: name) end,
      fn -> Health.report(name) end
    ]
  end

  # The errors of these calls that no caller should see.
  defp undocumented(calls) do
    for call <- calls, error = error(call), do: error
  end

  defp error(call) do
    call.()
    nil
  rescue
    error in ArgumentError ->
      text = Exception.message(error)

      # Two callers change the same limiter at once.
      unless text =~ @documented or text =~ "has a limiter of this name",
        do: Exception.format(:error, error, __STACKTRACE__)

    error ->
      Exception.format(:error, error, __STACKTRACE__)
  catch
    kind, reason -> Exception.format(kind, reason, __STACKTRACE__)
  end

  defp assert_alive(name, supervisor) do
    assert Process.alive?(supervisor)
    limiter = limiter(name)
    assert {:ok, %{current: 3, remaining: 7}} = RateLimiter.get_usage(limiter, "kept", :v)
    assert Keyword.has_key?(RateLimiter.limiters(name), limiter)
    assert %{limiters: %{^limiter => %{}}} = RateLimiter.stats(name)
    assert %{s1: %{scale: _}, own: %{}} = VSM.subsystem_metrics(name)

    eventually(fn ->
      error(fn -> :ok = RateLimiter.update_limit(limiter, :w, burst: 9) end) == nil
    end)

    :ok = RateLimiter.update_limit(limiter, :w, burst: 1_000_000)

    assert {:error, {:already_started, ^supervisor}} = RateLimiter.start_link(name: name)

    assert_raise ArgumentError, ~r/has a limiter of this name/, fn ->
      RateLimiter.start_link(name: {:other, name}, limiters: [{limiter, [windows: @windows]}])
    end

    :ok = Algedonic.pain(:s5, 0.6, instance: name, source: make_ref())
    assert_receive {:algedonic, :pain, %{subsystem: :s5, event: :began}}, 30_000
    :ok = Algedonic.pain(:s5, 0.0, instance: name, source: make_ref())
    Algedonic.settle(VSM.Tree.subsystem!(name, :s5), :pain, 0.0)
  end

  for {store, options} <- @stores do
    describe "an instance with a #{store} store" do
      @tag options: options
      test "survives a kill of each process, and callers see only documented errors", context do
        name = unquote(:"each_#{store}")
        supervisor = start(name, context.options)
        calls = calls(name)

        for root <- [RateLimiter.Supervisor, supervisor], {path, pid} <- tree(root) do
          # An ancestor that was killed before has taken it along.
          if Process.alive?(pid), do: kill(pid)
          for _ <- 1..20, do: assert(undocumented(calls) == [], inspect(path))

          new? = &match?({_, new} when new != pid, List.keyfind(tree(&1), path, 0))
          eventually(fn -> new?.(root) end)

          assert_alive(name, supervisor)
        end
      end

      @tag options: options
      test "survives kills of random processes under calls", context do
        name = unquote(:"random_#{store}")
        supervisor = start(name, context.options)
        calls = calls(name)

        callers =
          for _ <- 1..4 do
            Task.async(fn ->
              Enum.flat_map(1..150, fn _ -> calls |> Enum.shuffle() |> undocumented() end)
            end)
          end

        for _ <- 1..60 do
          with [_ | _] = tree <- tree(supervisor), do: tree |> Enum.random() |> elem(1) |> kill()
          Process.sleep(5)
        end

        assert callers |> Task.await_many(:infinity) |> List.flatten() |> Enum.uniq() == []
        assert_alive(name, supervisor)
      end
    end
  end

  describe "an instance that its own supervisor restarts" do
    test "starts empty, and callers see only documented errors" do
      start(:restarted, :local)
      calls = calls(:restarted)

      callers =
        for _ <- 1..4 do
          Task.async(fn ->
            Enum.flat_map(1..150, fn _ -> calls |> Enum.shuffle() |> undocumented() end)
          end)
        end

      for _ <- 1..40 do
        with pid when is_pid(pid) <- Instance.Registry.whereis({:instance, :restarted}),
             do: kill(pid)

        Process.sleep(10)
      end

      assert callers |> Task.await_many(:infinity) |> List.flatten() |> Enum.uniq() == []
      eventually(fn -> RateLimiter.health_check(:restarted) == :ok end)
      assert {:ok, %{current: 0}} = RateLimiter.get_usage(limiter(:restarted), "kept", :v)
    end
  end

  describe "a subscriber" do
    test "outlives every process of the application, and stays subscribed" do
      start(:subscriber, :local)
      for {_path, pid} <- tree(RateLimiter.Supervisor), do: kill(pid)
      eventually(fn -> tree(RateLimiter.Supervisor) != [] end)
      :ok = Algedonic.pain(:s5, 0.6, instance: :subscriber, source: :test)
      assert_receive {:algedonic, :pain, %{subsystem: :s5, event: :began}}, 30_000
    end
  end

  describe "the application" do
    test "may end by a kill and start again while instances run" do
      supervisor = start(:application, :local)
      ref = Process.monitor(RateLimiter.Supervisor)
      Process.exit(Process.whereis(RateLimiter.Supervisor), :kill)
      assert_receive {:DOWN, ^ref, _, _, _}, 30_000
      assert undocumented(calls(:application)) == []
      eventually(fn -> Application.start(:rate_limiter) == :ok end)
      assert_alive(:application, supervisor)
    end
  end
end
