defmodule RateLimiter.Sensors.ConfigTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Sensors.{
    Config,
    Function,
    Mailboxes,
    Memory,
    RunQueue,
    Schedulers,
    Store,
    Timer
  }

  defmodule Odd do
    @behaviour RateLimiter.Health
    def init(options), do: options[:begin]
    def measure(state), do: {:ok, 1, state}
  end

  defmodule Beginless do
    def measure(state), do: {:ok, 1, state}
  end

  test "by default returns all built-in sensors except :mailboxes" do
    assert [schedulers, run_queue, timer, memory, store] = Config.new!([], [])
    assert {:schedulers, Schedulers, [], {0.80, 0.90, 0.98}} = schedulers
    assert {:run_queue, RunQueue, [], {1, 4, 8}} = run_queue
    assert {:timer, Timer, [], {5, 20, 100}} = timer
    assert {:memory, Memory, [limit: nil], {0.70, 0.80, 0.92}} = memory
    assert {:store, Store, [], {0.01, 0.05, 0.25}} = store
  end

  test "disables, configures and adds sensors" do
    fun = fn -> 1 end

    sensors =
      Config.new!(
        [
          schedulers: false,
          run_queue: false,
          timer: false,
          memory: [limit: 1_000, warn: 0.85],
          mailboxes: [watch: [:a, self()]],
          store: false,
          pool: [measure: fun, ok: 1, warn: 2, crit: 3],
          odd: [module: Odd, begin: 5, ok: 1, warn: 2, crit: 3]
        ],
        []
      )

    assert [
             {:memory, Memory, [limit: 1_000], {0.70, 0.85, 0.92}},
             {:mailboxes, Mailboxes, [watch: [:a, _]], {100, 1_000, 10_000}},
             {:pool, Function, [measure: ^fun], {1, 2, 3}},
             {:odd, Odd, [begin: 5], {1, 2, 3}}
           ] = sensors
  end

  test "raises for invalid options" do
    for {options, message} <- [
          {[memory: [limit: 0]],
           "sensors.memory.limit: expected a positive integer or nil, got: 0"},
          {[run_queue: [ok: 5]], "sensors.run_queue: expected ok < warn < crit, got: "},
          {[timer: [warm: 5]], "sensors.timer: unknown option :warm, did you mean :warn?"},
          {[pool: [ok: 1, warn: 2, crit: 3]],
           "sensors.pool.measure: is required, expected a zero-arity function"},
          {[pool: [measure: fn -> 1 end]], "sensors.pool.ok: is required, expected a number"},
          {[pool: [module: Nobody, ok: 1, warn: 2, crit: 3]],
           "sensors.pool.module: expected a module that implements RateLimiter.Health, got: Nobody"},
          {[pool: [module: Beginless, ok: 1, warn: 2, crit: 3]],
           "sensors.pool.module: expected a module that implements RateLimiter.Health, got: "},
          {[scheduler: [ok: 0.5]],
           "sensors: unknown sensor :scheduler, did you mean :schedulers?"},
          {[memroy: false], "sensors: unknown sensor :memroy, did you mean :memory?"},
          {[mailbox: %{watch: []}], "sensors: unknown sensor :mailbox, did you mean :mailboxes?"},
          {[mailboxes: [watch: ["a"]]],
           "sensors.mailboxes.watch: expected a list of registered names and pids, got: [\"a\"]"}
        ] do
      error = assert_raise ArgumentError, fn -> Config.new!(options, [:sensors]) end
      assert error.message =~ message
    end
  end

  test "built_in?/1 and of_store?/1 know the sensors of this library" do
    sensors = Config.new!([pool: [measure: fn -> 1 end, ok: 1, warn: 2, crit: 3]], [])

    assert for({name, _, _, _} = sensor <- sensors, Config.of_store?(sensor), do: name) == [
             :store
           ]

    assert for({name, _, _, _} = sensor <- sensors, not Config.built_in?(sensor), do: name) == [
             :pool
           ]
  end

  test "the thresholds of every built-in sensor rise" do
    for {_name, _module, _options, {ok, warn, crit}} <-
          Config.new!([mailboxes: [watch: [:a]]], []),
        do: assert(ok < warn and warn < crit)
  end
end
