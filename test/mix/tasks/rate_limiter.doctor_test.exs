defmodule Mix.Tasks.RateLimiter.DoctorTest do
  # Not async: standard error and the environment belong to all.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.RateLimiter.Doctor, as: Task
  alias RateLimiter.Doctor
  alias RateLimiter.Doctor.Server
  alias RateLimiter.Support.{Documents, Redis}

  @variables ~w(REDIS_ENABLED REDIS_URL REDIS_HOST REDIS_PORT REDIS_PASSWORD)

  setup do
    before = for name <- @variables, do: {name, System.get_env(name)}
    Enum.each(@variables, &System.delete_env/1)

    on_exit(fn ->
      for {name, value} <- before,
          do: if(value, do: System.put_env(name, value), else: System.delete_env(name))
    end)
  end

  # Lines are wrapped, where they are long.
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

  # However slow this machine is.
  defp with_url(server), do: ["--url", Redis.url(server), "--timeout", "30000"]

  test "without a Redis, what this node does by itself is looked at" do
    out = out([])
    assert out =~ "ok library rate_limiter 0."
    assert out =~ "ok in memory 1,000 of 2,000 calls of 8 processes admitted, of 1,000 that are"
    assert out =~ ~r/ok its speed [\d.]+ us a check/
    assert out =~ "ok Redis none is named"
  end

  test "a Redis that is well is asked all that will be asked of it, and no other key is touched" do
    server = Redis.start!()
    out = out(with_url(server) ++ ["--prefix", "shop"])
    assert out =~ ~r/ok Redis reached: 127\.0\.0\.1:\d+/
    assert out =~ ~r/ok version (Redis|Valkey) \d/
    assert out =~ "ok memory no maxmemory is set"
    assert out =~ "ok the script 10 of 20 calls admitted"
    assert out =~ ~r/ok its speed [\d.]+ ms a check/
    assert out =~ "ok agreement"
    keys = Redis.command!(server, ["KEYS", "*"])
    assert keys != []
    assert Enum.reject(keys, &String.starts_with?(&1, "shop:doctor:{")) == []
  end

  test "a prefix may be as long as it can be" do
    prefix = String.duplicate("é", 32)
    assert out(with_url(Redis.start!()) ++ ["--prefix", prefix]) =~ "ok the script 10 of 20"
  end

  test "the environment names the Redis, too" do
    server = Redis.start!()
    System.put_env("REDIS_URL", Redis.url(server))
    assert out(["--timeout", "30000"]) =~ "ok the script 10 of 20"
  end

  test "one that forgets is warned of" do
    server = Redis.start!(config: [maxmemory: "100mb", "maxmemory-policy": "volatile-ttl"])
    out = out(with_url(server))
    assert out =~ "warning memory maxmemory 104857600, volatile-ttl: when it is full it forgets"
    assert out =~ "set maxmemory-policy noeviction"
  end

  test "what its user lacks is said: what is not needed by every call is a warning" do
    rights = Documents.rights() |> String.replace(~r/ \+h\w+| \+info/, "")
    server = Redis.start!(config: [user: rights])
    url = String.replace(Redis.url(server), "://", "://limiter:secret@")
    out = out(["--url", url, "--timeout", "30000"])

    assert out =~
             ~r/warning memory whether it forgets .* is not told: .*info.* grant its user \+info/

    assert out =~ "ok the script"
    assert out =~ ~r/warning agreement .* Redis says/
    refute out =~ "secret"

    server = Redis.start!(config: [user: String.replace(rights, " +set ", " ")])
    url = String.replace(Redis.url(server), "://", "://limiter:secret@")
    out = fails(["--url", url])
    assert out =~ ~r/failure Redis cannot be used: /
    refute out =~ "secret"
  end

  test "one that is not there is a failure, with why" do
    server = Redis.start!()
    Redis.kill(server)
    assert fails(with_url(server)) =~ ~r/failure Redis cannot be used: .*refused.* Is it up/
  end

  test "a wrong command line or environment says what was expected" do
    assert misuse(["--ulr", "x"]) =~ "--ulr: no such option. Did you mean --url?"
    assert misuse(["--timeout", "long"]) =~ "--timeout: expected a whole number, got: \"long\""
    assert misuse(["redis://localhost"]) =~ "expected options only"
    assert misuse(["--url", "http://localhost"]) =~ "store.url: expected \"redis://"
    assert misuse(["--url", "redis://localhost", "--prefix", "{"]) =~ "store.prefix: expected"
    assert misuse(["--url", "rediss://localhost", "--cacertfile", "/none"]) =~ "/none"
    System.put_env("REDIS_ENABLED", "perhaps")
    assert misuse([]) =~ "REDIS_ENABLED: expected true or false"
  end

  describe "what a server says of itself" do
    test "which it is" do
      assert {:ok, _, "Redis 7.0.15", nil} = Server.version("a:1\r\nredis_version:7.0.15\r\n")
      valkey = "redis_version:7.2.4\r\nvalkey_version:8.1.1\r\n"
      assert {:ok, _, "Valkey 8.1.1", nil} = Server.version(valkey)

      assert {:warning, _, "Redis 6.2.0", "expected 7.0" <> _} =
               Server.version("redis_version:6.2.0")
    end

    test "whether it forgets" do
      memory = fn bytes, policy ->
        Server.memory("maxmemory:#{bytes}\r\nmaxmemory_human:x\r\nmaxmemory_policy:#{policy}\r\n")
      end

      assert {:ok, _, "no maxmemory" <> _, nil} = memory.(0, "allkeys-lru")
      assert {:ok, _, "maxmemory 9, noeviction" <> _, nil} = memory.(9, "noeviction")
      assert {:warning, _, "maxmemory 9, allkeys-lfu" <> _, _} = memory.(9, "allkeys-lfu")
    end
  end

  test "the worst of what was found counts" do
    finding = &{&1, "", "", nil}
    assert Doctor.worst([]) == :ok
    assert Doctor.worst(Enum.map([:ok, :warning, :ok], finding)) == :warning
    assert Doctor.worst(Enum.map([:warning, :failure, :ok], finding)) == :failure
  end

  test "lines fit the screen" do
    finding = {:warning, "memory", String.duplicate("word ", 60), String.duplicate("more ", 40)}

    for unicode <- [true, false] do
      text = IO.iodata_to_binary(Doctor.lines([finding], %{color: false, unicode: unicode}))
      lines = String.split(text, "\n", trim: true)
      assert Enum.all?(lines, &(String.length(&1) <= 80))
      assert Enum.count(lines, &(&1 =~ if(unicode, do: "→ more", else: "-> more"))) == 1
    end
  end
end
