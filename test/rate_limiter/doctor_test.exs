defmodule RateLimiter.DoctorTest do
  # Not async: the environment is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO
  import RateLimiter.Support.Environment

  alias RateLimiter.Doctor
  alias RateLimiter.Support.Redis

  setup do: without(~w(REDIS_ENABLED REDIS_URL REDIS_HOST REDIS_PORT REDIS_PASSWORD))

  test "run/1 returns the worst level, and refuses unknown options" do
    server = Redis.start!(config: [maxmemory: "100mb", "maxmemory-policy": "volatile-ttl"])
    store = {:redis, url: Redis.url(server), timeout: 30_000}
    capture_io(fn -> assert Doctor.run(store: store) == :warning end)
    capture_io(fn -> assert Doctor.run() == :ok end)
    assert_raise ArgumentError, ~r/unknown keys \[:url\]/, fn -> Doctor.run(url: "x") end

    assert_raise ArgumentError, ~r/^store.url: expected/, fn ->
      Doctor.run(store: {:redis, url: "x"})
    end
  end

  test "worst/1 returns the worst level of all findings" do
    finding = &{&1, "", "", nil}
    assert Doctor.worst([]) == :ok
    assert Doctor.worst(Enum.map([:ok, :warning, :ok], finding)) == :warning
    assert Doctor.worst(Enum.map([:warning, :failure, :ok], finding)) == :failure
  end

  test "lines/2 fits 80 columns" do
    finding = {:warning, "memory", String.duplicate("word ", 60), String.duplicate("more ", 40)}

    for unicode <- [true, false] do
      text = IO.iodata_to_binary(Doctor.lines([finding], %{color: false, unicode: unicode}))
      lines = String.split(text, "\n", trim: true)
      assert Enum.all?(lines, &(String.length(&1) <= 80))
      assert Enum.count(lines, &(&1 =~ if(unicode, do: "→ more", else: "-> more"))) == 1
    end
  end
end
