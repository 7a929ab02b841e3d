defmodule RateLimiter.Store.IdTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Store.Id

  # A random term of ids, `depth` deep; with `leaf` as one of its parts.
  defp term(0, leaf), do: leaf

  defp term(depth, leaf) do
    parts = Enum.shuffle([term(depth - 1, leaf) | Enum.take_random(["a", 1, :b, [], {}, -1], 3)])
    if :rand.uniform(2) == 1, do: parts, else: List.to_tuple(parts)
  end

  test "binaries, integers, atoms, and tuples and lists of them are ids" do
    :rand.seed(:exsss, 9)

    for id <- ["", <<255>>, 0, -5, Integer.pow(10, 400), :a, true, [], {}, "ü"],
        depth <- 0..4,
        do: assert(Id.valid?(term(depth, id)))
  end

  test "nothing else is, wherever it stands" do
    :rand.seed(:exsss, 10)

    for other <- [nil, 1.5, %{}, self(), make_ref(), fn -> 1 end, <<1::3>>, ["a" | "b"]],
        depth <- 0..4,
        do: refute(Id.valid?(term(depth, other)), inspect(other))
  end

  test "the hash of a large id counts as that id, and an invalid one raises" do
    start_supervised!(
      {RateLimiter,
       name: __MODULE__, limiters: [large_ids: [windows: [w: [limit: 3, per: {30, :day}]]]]}
    )

    large = String.duplicate("x", 1_000_000)
    assert {:ok, %{remaining: 2}} = RateLimiter.check_and_track(:large_ids, large)
    assert {:ok, %{remaining: 1}} = RateLimiter.check_and_track(:large_ids, large)
    assert {:ok, %{remaining: 2}} = RateLimiter.check_and_track(:large_ids, [large])

    assert_raise ArgumentError, fn -> RateLimiter.check_and_track(:large_ids, [large, 1.5]) end
  end
end
