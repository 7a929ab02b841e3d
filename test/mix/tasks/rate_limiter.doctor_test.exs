defmodule Mix.Tasks.RateLimiter.DoctorTest do
  # Not async: standard error and the environment are global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO
  import RateLimiter.Support.Environment

  alias Mix.Tasks.RateLimiter.Doctor, as: Task
  alias RateLimiter.Support.{Documents, Redis}

  setup do: without(~w(REDIS_ENABLED REDIS_URL REDIS_HOST REDIS_PORT REDIS_PASSWORD))

  # Long lines are wrapped.
  defp out(argv), do: capture_io(fn -> Task.run(argv) end) |> String.replace(~r/\s+/, " ")

  defp fails(argv) do
    capture_io(fn -> send(self(), {:ended, catch_exit(Task.run(argv))}) end)
    |> String.replace(~r/\s+/, " ")
    |> tap(fn _ -> assert_received {:ended, {:shutdown, 1}} end)
  end

  defp misuse(argv) do
    capture_io(:stderr, fn ->
      capture_io(fn -> assert catch_exit(Task.run(argv)) == {:shutdown, 2} end)
    end)
  end

  # A deadline that a slow machine keeps.
  defp with_url(server), do: ["--url", Redis.url(server), "--timeout", "30000"]

  test "without a Redis, the checks of this node run" do
    out = out([])
    assert out =~ "ok library rate_limiter 0."
    assert out =~ "ok in memory 1,000 of 2,000 concurrent calls admitted by a limit of 1,000"
    assert out =~ ~r/ok speed a check takes [\d.]+ us/
    assert out =~ "ok Redis not checked"
  end

  test "a healthy Redis passes all checks, which touch only keys of their own" do
    server = Redis.start!()
    out = out(with_url(server) ++ ["--prefix", "shop"])
    assert out =~ ~r/ok Redis connected: 127\.0\.0\.1:\d+/
    assert out =~ ~r/ok version (Redis|Valkey) \d/
    assert out =~ "ok memory no maxmemory is set"
    assert out =~ "ok script 10 of 20 calls admitted"
    assert out =~ ~r/ok speed a check takes [\d.]+ ms/
    assert out =~ "ok agreement"
    keys = Redis.command!(server, ["KEYS", "*"])
    assert keys != []
    assert Enum.reject(keys, &String.starts_with?(&1, "shop:doctor:{")) == []
  end

  test "a prefix of the maximum length is accepted" do
    prefix = String.duplicate("a", 64)
    assert out(with_url(Redis.start!()) ++ ["--prefix", prefix]) =~ "ok script 10 of 20"
  end

  test "without --url, the environment names the Redis" do
    server = Redis.start!()
    System.put_env("REDIS_URL", Redis.url(server))
    assert out(["--timeout", "30000"]) =~ "ok script 10 of 20"
  end

  test "a Redis that evicts keys gets a warning" do
    server = Redis.start!(config: [maxmemory: "100mb", "maxmemory-policy": "volatile-ttl"])
    out = out(with_url(server))

    assert out =~
             "warning memory maxmemory 104857600, volatile-ttl: when it is full, Redis evicts"

    assert out =~ "set maxmemory-policy noeviction"
  end

  test "a missing right is a failure if every call needs it, else a warning" do
    rights = Documents.rights() |> String.replace(~r/ \+h\w+| \+info/, "")
    server = Redis.start!(config: [user: rights])
    url = String.replace(Redis.url(server), "://", "://limiter:secret@")
    out = out(["--url", url, "--timeout", "30000"])

    assert out =~
             ~r/warning memory cannot read whether Redis evicts .*info.* grant its user \+info/

    assert out =~ "ok script"

    assert out =~
             ~r/warning agreement .* cannot agree on their scales: its user lacks \+hset \+hsetnx/

    refute out =~ "secret"

    server = Redis.start!(config: [user: String.replace(rights, " +set ", " ")])
    url = String.replace(Redis.url(server), "://", "://limiter:secret@")
    out = fails(["--url", url])
    assert out =~ ~r/failure Redis cannot be used: /
    refute out =~ "secret"
  end

  test "a right that heartbeats need gets a warning" do
    server = Redis.start!()
    assert out(with_url(server)) =~ "ok nodes nodes can count each other"

    server = Redis.start!(config: [user: String.replace(Documents.rights(), " +zadd ", " ")])
    url = String.replace(Redis.url(server), "://", "://limiter:secret@")
    out = out(["--url", url, "--timeout", "30000"])
    assert out =~ ~r/warning nodes nodes cannot count each other: its user lacks \+zadd/
    assert out =~ "guides/redis.md lists the rights"
  end

  test "a Redis that does not run is a failure with its reason" do
    server = Redis.start!()
    Redis.kill(server)

    assert fails(with_url(server)) =~
             ~r/failure Redis cannot be used: .*refused.* check that Redis runs/
  end

  test "a wrong password is a failure that names user and password" do
    server = Redis.start!(config: [user: Documents.rights()])
    url = String.replace(Redis.url(server), "://", "://limiter:wrong@")
    assert fails(["--url", url]) =~ ~r/failure Redis cannot be used: .*check user and password/
  end

  test "an invalid command line or environment exits with status 2 and what was expected" do
    assert misuse(["--ulr", "x"]) =~ "--ulr: no such option. Did you mean --url?"
    assert misuse(["--timeout", "long"]) =~ "--timeout: expected a whole number, got: \"long\""
    assert misuse(["redis://localhost"]) =~ "expected options only"
    assert misuse(["--url", "http://localhost"]) =~ "store.url: expected \"redis://"
    assert misuse(["--url", "redis://localhost", "--prefix", "{"]) =~ "store.prefix: expected"
    assert misuse(["--url", "rediss://localhost", "--cacertfile", "/none"]) =~ "/none"
    System.put_env("REDIS_ENABLED", "perhaps")
    assert misuse([]) =~ "REDIS_ENABLED: expected true or false"
  end
end
