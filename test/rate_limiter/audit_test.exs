defmodule RateLimiter.AuditTest do
  # Not async: the audit hears the denials of the whole node.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog
  import RateLimiter.Support.Events, only: [listen: 1]

  alias RateLimiter.{Audit, Telemetry}

  doctest Audit

  @key {"2026-11", "a key of at least 16 bytes"}

  setup do
    on_exit(&Audit.detach/0)
    windows = [w: [limit: 1, per: :hour], v: [limit: 100, per: :hour]]
    RateLimiter.Test.start(limiters: [audited: [windows: windows, events: :none]])
  end

  defp attach(options) do
    test = self()
    Audit.attach(Keyword.merge([key: @key, to: &send(test, {:line, &1})], options))
  end

  defp deny(id),
    do: {:error, :rate_limited, _} = RateLimiter.check_and_track(:audited, id, :w, cost: 2)

  # Each line is one object of JSON without nested ones.
  defp line do
    assert_received {:line, line}
    refute line =~ "\n"
    assert "{" <> _ = line

    ~r/"(\w+)": ("[^"]*"|[\d.]+|null)/
    |> Regex.scan(line, capture: :all_but_first)
    |> Map.new(fn [name, value] -> {name, value} end)
  end

  test "a call that shadow mode admits is a line of its own kind" do
    attach([])
    :ok = RateLimiter.update_limit(:audited, :w, enforce: false)
    {:ok, _usage} = RateLimiter.check_and_track(:audited, "ann", :w, cost: 2)

    assert %{"event" => ~s("would_deny"), "window" => ~s("w"), "retry_after_ms" => "null"} =
             line()

    refute_received {:line, _line}
  end

  test "each denied call is one line, in which the id is hashed under the key" do
    attach([])
    {:ok, _usage} = RateLimiter.check_and_track(:audited, "ann")
    refute_received {:line, _line}
    {:error, :rate_limited, usage} = RateLimiter.check_and_track(:audited, "ann")
    assert %{"time" => time} = line = line()
    assert {:ok, _time, 0} = time |> String.trim("\"") |> DateTime.from_iso8601()

    assert Map.delete(line, "time") == %{
             "event" => ~s("violation"),
             "node" => ~s("#{node()}"),
             "limiter" => ~s("audited"),
             "window" => ~s("w"),
             "cost" => "1",
             "max" => "1",
             "current" => "1",
             "retry_after_ms" => "#{usage.retry_after_ms}",
             "source" => ~s("local"),
             "id" => ~s("#{Audit.hash("ann")}"),
             "key" => ~s("2026-11"),
             "left_out" => "0"
           }
  end

  test "an id that can never be admitted has no time to retry" do
    attach([])
    deny("ann")
    assert line()["retry_after_ms"] == "null"
  end

  test "events have the same hash as lines, and another one under another key" do
    attach([])

    listen([[:rate_limiter, :violation]])
    deny("ann")
    assert_received {:event, _name, _measurements, %{id_hash: hash}}
    assert line()["id"] == inspect(hash)
    attach(key: {"2026-12", "another key of 16 bytes"})
    deny("ann")
    assert %{"id" => id, "key" => ~s("2026-12")} = line()
    assert id != inspect(hash)
    attach([])
    deny("ann")
    assert line()["id"] == inspect(hash)
    Audit.detach()
    assert Telemetry.IdHash.key_name() == nil
    deny("ann")
    refute_received {:line, _line}
  end

  test "with networks, an address appears without its last part, and other ids hashed" do
    attach(ids: :networks)
    deny("203.0.113.7")
    assert %{"network" => ~s("203.0.113.0/24")} = line = line()
    refute Map.has_key?(line, "id")
    deny("ann")
    assert %{"id" => _, "key" => _} = line = line()
    refute Map.has_key?(line, "network")
  end

  test "no more lines are written than allowed, and the next one tells how many were left out" do
    attach(lines: [limit: 3, per: {30, :day}])
    for _ <- 1..10, do: deny("ann")
    for _ <- 1..3, do: assert(line()["left_out"] == "0")
    refute_received {:line, _line}
    # The count is kept where the audit's own limit is.
    assert :atomics.get(left_out(), 1) == 7
    attach(lines: [limit: 2, per: {100, :millisecond}])
    for _ <- 1..20, do: deny("ann")
    Process.sleep(250)
    flush()
    deny("ann")
    assert line()["left_out"] != "0"
  end

  defp left_out do
    handlers = :telemetry.list_handlers([:rate_limiter, :violation])
    Enum.find(handlers, &(&1.id == Audit)).config.left_out
  end

  defp flush do
    receive do
      {:line, _line} -> flush()
    after
      0 -> :ok
    end
  end

  test "many processes: lines and what is left out are all denials" do
    test = self()
    attach(to: fn line -> send(test, {:line, line}) end, lines: [limit: 50, per: {30, :day}])

    1..8
    |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..100, do: deny("ann") end) end)
    |> Task.await_many(:infinity)

    written = for _ <- 1..50, do: line()
    refute_received {:line, _line}
    told = for %{"left_out" => n} <- written, do: String.to_integer(n)
    assert Enum.sum(told) + :atomics.get(left_out(), 1) + 50 == 800
  end

  test "a writer that raises loses its line, which is counted, and is called again" do
    test = self()

    attach(
      to: fn line ->
        if(line =~ ~s("cost": 2), do: raise("full"), else: send(test, {:line, line}))
      end
    )

    for _ <- 1..3, do: deny("ann")
    {:ok, _usage} = RateLimiter.check_and_track(:audited, "ann", :w)
    {:error, :rate_limited, _usage} = RateLimiter.check_and_track(:audited, "ann", :w)
    assert line()["left_out"] == "3"
  end

  test "lines are logged at :notice, with a domain of their own" do
    level = Logger.level()
    on_exit(fn -> Logger.configure(level: level) end)
    Logger.configure(level: :notice)
    Audit.attach(key: @key)
    log = capture_log([metadata: [:domain]], fn -> deny("ann") end)
    assert log =~ "[notice]"
    assert log =~ ~s("limiter": "audited")
  end

  test "a key of the environment is read when the audit is attached" do
    name = "RATE_LIMITER_AUDIT_TEST"
    on_exit(fn -> System.delete_env(name) end)

    assert_raise ArgumentError, ~r/^key: the environment variable/, fn ->
      attach(key: {"k", {:system, name}})
    end

    System.put_env(name, "0123456789abcdef")
    assert attach(key: {"k", {:system, name}}) == :ok
  end

  test "invalid options raise, and show no key" do
    for {options, message} <- [
          {[], ~r/^key: is required/},
          {[key: "secret of sixteen bytes"], ~r/^key: expected {name, secret}/},
          {[key: {"k", "short secret"}], ~r/^key: expected at least 16 bytes/},
          {[key: @key, ids: :clear], ~r/^ids: expected one of :hashed, :networks/},
          {[key: @key, lines: [limit: 0, per: :second]], ~r/^lines.limit: expected/},
          {[key: @key, lines: 5], ~r/^lines/},
          {[key: @key, to: :file], ~r/^to: expected/},
          {[key: @key, file: "a"], ~r/unknown option :file/}
        ] do
      error = assert_raise ArgumentError, message, fn -> Audit.attach(options) end
      refute Exception.message(error) =~ ~r/secret of|short secret|at least 16 bytes\"/
    end
  end
end
