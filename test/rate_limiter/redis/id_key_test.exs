defmodule RateLimiter.Redis.IdKeyTest do
  # Ids in the names of keys, hashed under a key that nodes share.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Support.Redis

  @ids ["ann@example.com", 7, :ann, {"tenant", "ann@example.com"}, String.duplicate("ann", 100)]

  defp start(name, server, limiter, options) do
    options = [url: Redis.url(server), timeout: 20_000, nodes: 1] ++ options
    limiters = [{limiter, windows: [w: [limit: 10, per: {30, :day}]]}]
    start_supervised!({RateLimiter, name: name, store: {:redis, options}, limiters: limiters})
    eventually(fn -> RateLimiter.health_check(name) == :ok end)
  end

  test "no key of Redis has an id, and each id has its own count", %{test: name} do
    server = Redis.start!()
    start(name, server, name, id_key: "a key of at least 16 bytes")

    for id <- @ids, _ <- 1..2, do: RateLimiter.check_and_track(name, id)
    keys = Redis.keys(server)
    assert length(keys) == length(@ids)
    for key <- keys, do: assert(key =~ ~r/:~[0-9a-f]{32}}:w~b$/)
    for id <- @ids, do: assert({:ok, %{current: 2}} = RateLimiter.get_usage(name, id))
    for id <- @ids, do: assert(RateLimiter.reset(name, id) == :ok)
    # The eras that begin with the resets.
    for key <- Redis.keys(server), do: assert(key =~ ~r/:~[0-9a-f]{32}}:!$/)
  end

  test "the same key of two instances means the same counts, another one others", %{test: name} do
    server = Redis.start!()
    limiter = :"#{name} limiter"

    count = fn ->
      RateLimiter.check_and_track(limiter, "ann") |> elem(1) |> Map.fetch!(:current)
    end

    counts =
      for {id_key, n} <-
            Enum.with_index([
              "first key of 16 bytes",
              "first key of 16 bytes",
              "another key of 16 bytes"
            ]) do
        start({name, n}, server, limiter, id_key: id_key)
        current = count.()
        :ok = stop_supervised({name, n})
        current
      end

    assert counts == [1, 2, 1]
  end
end
