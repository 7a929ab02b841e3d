defmodule RateLimiter.LoggerTest do
  # Not async: the handler and the log belong to the whole node.
  use RateLimiter.Support.Redis.Case, async: false

  alias RateLimiter.Logger

  doctest Logger

  @stopped [:rate_limiter, :fallback, :stopped]

  setup context do
    Heard.listen(context.name, [@stopped, [:rate_limiter, :redis, :connection]])
    on_exit(fn -> Logger.attach() end)
  end

  defp lines(log, name),
    do: for(line <- String.split(log, "\n"), line =~ "RateLimiter #{inspect(name)}: ", do: line)

  # The log of an outage and its end. The calling process emits the events of its calls, so it has logged them.
  defp outage(%{name: name, server: server}) do
    capture_log(fn ->
      Redis.kill(server)
      Redis.eventually(fn -> source(name) == :fallback end)
      for id <- 1..50, do: RateLimiter.check_and_track(name, id)
      Redis.restart!(server)
      # After several outages in a row, the end of one counts once it has lasted for some seconds.
      Redis.eventually(fn -> source(name) == :redis and stopped?() end)
    end)
  end

  defp source(name),
    do:
      name
      |> RateLimiter.check_and_track("u")
      |> Tuple.to_list()
      |> List.last()
      |> Map.fetch!(:source)

  defp stopped? do
    receive do: ({:event, @stopped, _measurements, _metadata} -> true), after: (0 -> false)
  end

  # Waits until the process that emits events of connections has handled what it has received.
  defp settled(%{name: name}),
    do:
      :sys.get_state(
        RateLimiter.Instance.Registry.via(
          {:events, RateLimiter.Instance.Registry.instance(name).table}
        )
      )

  test "an outage is one line when it begins and one when it ends, without an id or a password",
       context do
    start(context, nodes: 2)
    log = outage(context)
    assert [alone, back] = lines(log, context.name)
    assert alone =~ "[warning]" or alone =~ "[warn]"
    assert alone =~ "decides without Redis"
    assert alone =~ "as one of 2 nodes"
    assert back =~ ~r/uses Redis again, after \d+ ms/
  end

  test "every outage has its lines", context do
    start(context, nodes: 2)
    assert length(lines(outage(context), context.name)) == 2
    assert length(lines(outage(context), context.name)) == 2
  end

  test "log: false and detach/0 end the lines", context do
    options = [
      name: context.name,
      log: false,
      store: {:redis, url: Redis.url(context.server), timeout: 5_000},
      limiters: [{context.name, windows: windows()}]
    ]

    log = capture_log(fn -> start_supervised!({RateLimiter, options}) end)
    Redis.eventually(fn -> RateLimiter.health_check(context.name) == :ok end)
    assert lines(log <> outage(context), context.name) == []

    :ok = stop_supervised!(context.name)
    :ok = Logger.detach()
    start(context, nodes: 2)
    assert lines(outage(context), context.name) == []
  end

  test "the level is that of attach/1", context do
    Logger.attach(level: :error)
    start(context, nodes: 2)
    assert [alone, _back] = lines(outage(context), context.name)
    assert alone =~ "[error]"
  end

  test "an instance that divides limits by an unknown number of nodes is warned of, once",
       context do
    log = capture_log(fn -> start(context) end)
    assert [line] = lines(log, context.name)
    assert line =~ "expected the option nodes: of the Redis store, got: none"
    assert capture_log(fn -> stop_supervised!(context.name) end) == ""
    assert lines(capture_log(fn -> start(context, [nodes: 1], []) end), context.name) == []
    :ok = stop_supervised!(context.name)
    assert lines(capture_log(fn -> start(context, [], on_outage: :deny) end), context.name) == []
  end

  test "each new reason why servers are not found is one line", context do
    options = [
      name: context.name,
      store: {:redis, sentinels: ["127.0.0.1:#{context.server.port}"], group: "none", nodes: 2},
      limiters: [{context.name, windows: windows()}]
    ]

    log =
      capture_log(fn ->
        start_supervised!({RateLimiter, options})

        assert_receive {:event, _name, _measurements, %{reason: reason}} when reason != nil,
                       20_000

        settled(context)
      end)

    reasons =
      for line <- lines(log, context.name), line =~ "cannot find the servers of Redis", do: line

    assert [line] = reasons
    assert line =~ "SENTINEL"
  end

  test "more than outages is logged where it is asked for", %{test: name} do
    windows = [w: [limit: 10, per: :hour]]
    limiters = [logged: [windows: windows, threshold: 0.8]]
    start_supervised!({RateLimiter, name: name, limiters: limiters, vsm: true})

    told = fn also ->
      Logger.attach(also: also)

      capture_log(fn ->
        :ok = RateLimiter.reset(:logged, "ann")

        {:ok, _} =
          RateLimiter.check_and_track(:logged, {"ann", System.unique_integer()}, :w, cost: 8)

        :ok = RateLimiter.update_limit(:logged, :w, limit: 20, burst: 9, enforce: false)
        :ok = RateLimiter.update_limit(:logged, :w, limit: 10, burst: 10, enforce: true)

        metadata = %{
          instance: name,
          subsystem: :s3,
          source: :test,
          to: nil,
          sentence: "queue of 9"
        }

        :telemetry.execute([:rate_limiter, :algedonic, :escalation], %{level: 1.0}, metadata)
      end)
      |> lines(name)
    end

    assert told.([]) == []
    assert [threshold] = told.([:thresholds])
    assert threshold =~ ~r/logged.w: the id with the hash [0-9a-f]{16} has used 8 of 10$/
    assert [escalation] = told.([:escalations])
    assert escalation =~ "pain of :s3 has lasted, and needs an operator: queue of 9"
    assert [one, other] = told.([:limits])

    assert one =~
             "logged.w: changed from 10 per 3600000 ms with bursts of 10 to 20 per 3600000 ms with bursts of 9 in shadow mode"

    assert other =~ "to 10 per 3600000 ms with bursts of 10"
    assert length(told.([:limits, :thresholds, :escalations])) == 4
  end

  test "invalid options raise what was expected" do
    for {options, message} <- [
          {[:error], ~r/expected a keyword list/},
          {[levl: :error], ~r/unknown option :levl, did you mean :level/},
          {:error, ~r/expected a keyword list/},
          {[level: :loud], ~r/^level: expected one of :emergency/},
          {[also: [:outages]], ~r/^also: expected a list of :escalations, :thresholds, :limits/},
          {[also: :limits], ~r/^also: expected a list/}
        ],
        do: assert_raise(ArgumentError, message, fn -> Logger.attach(options) end)
  end
end
