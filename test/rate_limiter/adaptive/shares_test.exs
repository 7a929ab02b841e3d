defmodule RateLimiter.Adaptive.SharesTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Histories, only: [for_all: 3, pick: 1]

  alias RateLimiter.Adaptive.Shares

  doctest Shares

  @five for {name, limit, demand, priority} <- [
              {:s1, 60, 45, 1},
              {:s2, 24, 18, 2},
              {:s3, 18, 13.5, 4},
              {:s4, 12, 9, 3},
              {:s5, 6, 4.5, 5}
            ],
            do: {name, %{limit: limit, floor: 0.0, demand: demand, priority: priority, weight: 1}}

  defp claims(seed) do
    :rand.seed(:exsss, seed)

    for name <- 1..(1 + :rand.uniform(6)), into: %{} do
      limit = :rand.uniform() * 100

      {name,
       %{
         limit: limit,
         floor: limit * pick([0.0, 0.1]),
         demand: :rand.uniform() * 120,
         priority: :rand.uniform(3),
         weight: :rand.uniform() + 0.1
       }}
    end
  end

  test "each share is at most its limit, and all shares are at most the capacity" do
    for_all seed, 300 do
      claims = claims(seed)
      capacity = :rand.uniform() * 300
      shares = Shares.divide(claims, capacity)

      for {name, share} <- shares do
        assert share >= 0.0
        assert share <= claims[name].limit + 1.0e-6
      end

      all = shares |> Map.values() |> Enum.sum()
      limits = claims |> Map.values() |> Enum.map(& &1.limit) |> Enum.sum()
      # Nothing is left over that could be used.
      assert_in_delta all, min(capacity, limits), 1.0e-6
    end
  end

  test "more capacity reduces no share" do
    for_all seed, 200 do
      claims = claims(seed)
      capacity = :rand.uniform() * 200
      less = Shares.divide(claims, capacity)
      more = Shares.divide(claims, capacity * 1.2 + 1)
      for {name, share} <- less, do: assert(more[name] >= share - 1.0e-6)
    end
  end

  test "at a quarter of the capacity, S5 and S3 get their whole demand" do
    shares = Shares.divide(@five, 25)
    assert shares.s5 == 6.0
    assert shares.s3 >= 13.5
    assert shares.s1 == 0.0
  end

  test "floors are served before any demand" do
    claims = for {name, claim} <- @five, do: {name, %{claim | floor: 0.1 * claim.limit}}
    for {name, share} <- Shares.divide(claims, 25), do: assert(share >= 0.1 * @five[name].limit)
  end

  test "equal priorities share by weight" do
    claim = %{limit: 100, floor: 0, demand: 100, priority: 1, weight: 1}
    shares = Shares.divide(%{a: claim, b: %{claim | weight: 3}}, 40)
    assert shares == %{a: 10.0, b: 30.0}
  end

  test "the guards of the least important are the lowest" do
    guards = Shares.guards(@five, Shares.divide(@five, 25), 20)
    assert guards.s5 == 20
    assert guards.s5 >= guards.s3 and guards.s3 >= guards.s4 and guards.s4 >= guards.s2
    assert guards.s1 >= 1
  end
end
