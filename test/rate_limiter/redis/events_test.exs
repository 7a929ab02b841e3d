defmodule RateLimiter.Redis.EventsTest do
  use RateLimiter.Support.Redis.Case, async: true

  alias RateLimiter.Redis.Events

  @command [:rate_limiter, :redis, :command]
  @connection [:rate_limiter, :redis, :connection]

  test "a connection that opened before the process listened is reported", context do
    Heard.listen(context.name, [@connection])
    start(context)
    assert_receive {:event, @connection, %{count: 1}, %{change: :up, reason: nil}}, 10_000
  end

  test "batches are reported while a handler listens", %{name: name} = context do
    Heard.listen(name, [@command])
    start(context)
    {:ok, _usage} = RateLimiter.check_and_track(name, "u", :a)
    assert_receive {:event, @command, %{calls: calls, duration_us: us}, metadata}, 10_000
    assert calls >= 1 and us >= 0
    assert %{instance: ^name, result: :ok, reason: nil} = metadata
  end

  test "events of all batches arrive, although only some are under way at a time",
       %{name: name} = context do
    Heard.listen(name, [@command])
    start(context)
    assert_receive {:event, @command, _measurements, _metadata}, 10_000
    calls = 2_000

    for id <- 1..calls, do: RateLimiter.check_and_track(name, id, :a)
    assert reported(0, calls) >= calls
  end

  # The calls of the reported batches, and of those that were only counted.
  defp reported(sum, enough) when sum >= enough, do: sum

  defp reported(sum, enough) do
    assert_receive {:event, @command, %{calls: calls}, _metadata}, 10_000
    reported(sum + calls, enough)
  end

  test "a process that takes over after a crash reports what follows", context do
    %{name: name, server: server} = context
    supervisor = start(context)
    before = child(supervisor, Events)
    Process.exit(before, :kill)
    Redis.eventually(fn -> child(supervisor, Events) not in [before, :restarting, :undefined] end)
    Heard.listen(name, [@connection])
    Redis.kill(server)
    assert_receive {:event, @connection, %{count: 1}, %{change: change}}, 10_000
    assert change != :up
  end
end
