defmodule RateLimiter.Store.CallersTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Store.Callers
  alias RateLimiter.Support.Redis

  setup do
    RateLimiter.Test.start(
      limiters: [
        kept: [
          windows: [burst: [limit: 3, per: :hour], day: [limit: 5, per: :day]],
          top: 100,
          ids: :keep
        ],
        hashed: [windows: [burst: [limit: 3, per: :hour]], top: 100],
        small: [windows: [burst: [limit: 1_000_000, per: :hour]], top: 4, ids: :keep],
        off: [windows: [burst: [limit: 3, per: :hour]]]
      ]
    )
  end

  defp most(limiter, window \\ :burst, by \\ :calls), do: Callers.most(limiter, window, by, 100)

  test "calls and denials are counted in each window that a call is about" do
    for _ <- 1..4, do: RateLimiter.check_and_track(:kept, "ann", :burst)
    for _ <- 1..2, do: RateLimiter.check_and_track(:kept, "bob", [:burst, :day])
    for _ <- 1..2, do: RateLimiter.check_and_track(:kept, "bob", :day, cost: 9)
    assert most(:kept) == [%{id: "ann", calls: 4, denied: 1}, %{id: "bob", calls: 2, denied: 0}]
    assert most(:kept, :day) == [%{id: "bob", calls: 4, denied: 2}]
    assert [%{id: "ann", denied: 1}, %{id: "bob", denied: 0}] = most(:kept, :burst, :denied)
  end

  test "of a call that one window denies, the others count no denial" do
    for _ <- 1..4, do: RateLimiter.check_and_track(:kept, "ann")
    assert most(:kept, :burst) == [%{id: "ann", calls: 4, denied: 1}]
    assert most(:kept, :day) == [%{id: "ann", calls: 4, denied: 0}]
  end

  test "every way to call counts, and what only looks or gives back does not" do
    id = "ann"
    RateLimiter.check_and_track(:kept, id, :burst)
    RateLimiter.check_and_track(:kept, id, :burst, request_id: "r")
    RateLimiter.allow?(:kept, id, :burst)
    RateLimiter.check_batch(:kept, [{id, 1}, {id, 1}], :burst)
    RateLimiter.peek(:kept, id, :burst)
    RateLimiter.get_usage(:kept, id, :burst)
    RateLimiter.refund(:kept, id, :burst)
    RateLimiter.reset(:kept, id)
    assert most(:kept) == [%{id: id, calls: 5, denied: 2}]
  end

  test "every kind of id is kept as it is, and a large one as its hash" do
    large = String.duplicate("x", 300)
    huge = String.duplicate("x", 100_000)
    ids = ["ann", 7, -1, :ann, {:user, 7, ["a"]}, [1, "x"], 2 ** 70, <<0xFF>>, ""]
    for id <- [large, huge | ids], do: RateLimiter.check_and_track(:kept, id, :burst)
    kept = for %{id: id} <- most(:kept), do: id
    hashes = [Callers.hash(large), Callers.hash(huge)]
    assert Enum.sort(kept) == Enum.sort(ids ++ hashes)
  end

  test "by default ids are hashed, each to a hash of its own that this node can compute" do
    for id <- ["ann", "ann", 7, :ann], do: RateLimiter.check_and_track(:hashed, id, :burst)

    assert [%{id: first, calls: 2} | _] = rows = most(:hashed)
    assert first == RateLimiter.id_hash("ann")
    assert MapSet.new(rows, & &1.id) == MapSet.new(["ann", 7, :ann], &RateLimiter.id_hash/1)
    assert first =~ ~r/\A[0-9a-f]{16}\z/
    assert_raise ArgumentError, fn -> RateLimiter.id_hash(nil) end
  end

  test "counts are of the last one to two minutes" do
    for _ <- 1..2, do: RateLimiter.check_and_track(:kept, "ann", :burst)
    RateLimiter.Test.advance({1, :minute})
    RateLimiter.check_and_track(:kept, "ann", :burst)
    assert most(:kept) == [%{id: "ann", calls: 3, denied: 0}]
    RateLimiter.Test.advance({1, :minute})
    assert most(:kept) == [%{id: "ann", calls: 1, denied: 0}]
    RateLimiter.Test.advance({1, :minute})
    assert most(:kept) == []
  end

  test "a heavy caller is found among many, with a count that is within the bound" do
    ids = Enum.shuffle(List.duplicate("heavy", 400) ++ for(n <- 1..600, do: "id #{n}"))
    for id <- ids, do: RateLimiter.check_and_track(:small, id, :burst)
    rows = most(:small)
    # At most 4 in each part, of which there is one for each core.
    assert length(rows) <= 4 * 2 * System.schedulers_online()
    assert %{id: "heavy", calls: calls} = hd(rows)
    assert calls in 150..400
    for %{id: "id " <> _, calls: calls} <- rows, do: assert(calls == 1)
  end

  test "a limiter that does not count is off, an unknown one or window is an error" do
    assert most(:off) == :off
    assert_raise ArgumentError, ~r/unknown window :none/, fn -> most(:kept, :none) end
    assert_raise ArgumentError, ~r/unknown limiter :none/, fn -> most(:none) end

    message =
      "expected a limiter that counts its callers, got: :off. Give it the option top:, such as top: 100"

    assert_raise ArgumentError, message, fn -> RateLimiter.top(:off, :burst) end
    assert_raise ArgumentError, ~r/by: /, fn -> RateLimiter.top(:kept, :burst, 1, by: :cost) end
  end

  test "a changed limit keeps the counts, a limiter that is added again begins anew" do
    RateLimiter.check_and_track(:kept, "ann", :burst)
    RateLimiter.update_limit(:kept, :burst, limit: 50)
    assert [%{id: "ann", calls: 1}] = most(:kept)
    RateLimiter.remove_limiter(:kept)
    RateLimiter.add_limiter(:kept, windows: [burst: [limit: 3, per: :hour]], top: 10)
    assert most(:kept) == []
    RateLimiter.remove_limiter(:kept)
    RateLimiter.add_limiter(:kept, windows: [burst: [limit: 3, per: :hour]])
    assert most(:kept) == :off
  end

  test "calls of many processes are counted exactly while there is room for all ids" do
    1..8
    |> Task.async_stream(fn _ ->
      for n <- 1..500, do: RateLimiter.check_and_track(:kept, rem(n, 50), :day)
    end)
    |> Stream.run()

    rows = most(:kept, :day)

    assert Enum.sort(for row <- rows, do: {row.id, row.calls, row.denied}) ==
             for(id <- 0..49, do: {id, 80, 75})
  end

  describe "with Redis" do
    test "calls are counted once, whether Redis, a remembered denial or this node decides", %{
      test: name
    } do
      server = Redis.start!()

      start_supervised!(
        {RateLimiter,
         name: name,
         store: {:redis, url: Redis.url(server), timeout: 20_000, nodes: 1},
         log: false,
         limiters: [
           {name, windows: [burst: [limit: 3, per: {30, :day}]], top: 100, ids: :keep}
         ]}
      )

      eventually(fn -> RateLimiter.health_check(name) == :ok end)
      for _ <- 1..5, do: RateLimiter.check_and_track(name, "ann", :burst)
      RateLimiter.check_batch(name, [{"bob", 1}, {"ann", 1}, {"bob", 9}], :burst)
      RateLimiter.peek(name, "ann", :burst)

      assert [%{id: "ann", calls: 6, denied: 3}, %{id: "bob", calls: 2, denied: 1}] =
               Callers.most(name, :burst, :calls, 9)

      Redis.kill(server)
      eventually(fn -> match?({_, %{source: :fallback}}, RateLimiter.peek(name, "x", :burst)) end)
      for _ <- 1..4, do: RateLimiter.check_and_track(name, "eve", :burst)

      assert %{calls: 4, denied: 1} =
               Enum.find(Callers.most(name, :burst, :calls, 9), &(&1.id == "eve"))
    end
  end
end
