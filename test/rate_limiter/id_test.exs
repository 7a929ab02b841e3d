defmodule RateLimiter.IdTest do
  # Ids of every kind: different ids are counted separately.
  use ExUnit.Case, async: true

  setup do
    RateLimiter.Test.start(limiters: [ids: [windows: [w: [limit: 1_000_000, per: :day]]]])
  end

  # How often this id was counted, including this time.
  defp count(id) do
    {:ok, usage} = RateLimiter.check_and_track(:ids, id, :w)
    usage.current
  end

  # Asserts that the first call of each id finds an empty count, so that no two of them share one.
  defp assert_all_distinct(ids) do
    for id <- ids,
        do: assert(count(id) == 1, "#{inspect(id, limit: 5, printable_limit: 50)} was not new")

    for id <- ids, do: assert(count(id) == 2)
  end

  describe "an id" do
    test "differs from an id of another kind that looks alike" do
      assert_all_distinct([
        1,
        "1",
        :"1",
        {1},
        [1],
        ["1"],
        {"1"},
        {:"1"},
        [:"1"],
        {{1}},
        [[1]],
        [{1}],
        {[1]},
        -1,
        "-1",
        <<1>>,
        <<1::64-little>>,
        <<1::64>>,
        # A charlist is a list of integers.
        ~c"a",
        "a",
        :a,
        [?a, ?b],
        "ab",
        {?a, ?b},
        0,
        "",
        [],
        {},
        [[]],
        [{}],
        {[]},
        {{}},
        <<0>>,
        <<0, 0>>,
        [0],
        true,
        "true",
        false,
        :"",
        :" ",
        "nil",
        :"Elixir.RateLimiter",
        "Elixir.RateLimiter"
      ])
    end

    test "differs from an id with the same parts in another nesting" do
      assert_all_distinct([
        {1, 2, 3},
        {{1, 2}, 3},
        {1, {2, 3}},
        [1, 2, 3],
        [[1, 2], 3],
        [1, [2, 3]],
        {1, [2, 3]},
        [1, {2, 3}],
        {"ab", "c"},
        {"a", "bc"},
        {"abc", ""},
        {"", "abc"},
        {"abc"},
        ["ab", "c"],
        ["a", "bc"],
        {"a", :b},
        {:a, "b"},
        {:a, :b},
        {"a", {"b"}},
        {{"a"}, "b"}
      ])
    end

    test "may be an integer of any size" do
      edges =
        for bits <- [
              7,
              8,
              15,
              16,
              31,
              32,
              58,
              59,
              60,
              61,
              62,
              63,
              64,
              65,
              127,
              128,
              1_000,
              50_000
            ],
            do: 2 ** bits

      assert_all_distinct(Enum.flat_map(edges, &[&1, &1 - 1, -&1, 1 - &1 - 2]) |> Enum.uniq())
      assert count({2 ** 100}) == 1
      assert count({2 ** 100}) == 2
      assert count({-(2 ** 100)}) == 1
    end

    test "may be any binary: empty, long, invalid UTF-8, zeros" do
      megabyte = :binary.copy("x", 1_000_000)

      assert_all_distinct(
        [
          "",
          <<0>>,
          :binary.copy(<<0>>, 15),
          :binary.copy(<<0>>, 16),
          :binary.copy(<<0>>, 17),
          <<255, 254, 253>>,
          <<0xC3>>,
          <<0xC3, 0xA9>>,
          "é",
          "e\u0301",
          megabyte,
          megabyte <> "x",
          "y" <> megabyte,
          {megabyte},
          "'; DROP TABLE limits; --",
          "a:b",
          "a\nb"
        ]
        |> Enum.uniq()
      )
    end

    test "is the same for a heap binary, a sub-binary and a shared binary" do
      whole =
        "a binary of more than sixty-four bytes, so that it is shared between processes and not copied"

      part = binary_part("__" <> whole, 2, byte_size(whole))
      assert count(whole) == 1
      assert count(part) == 2

      assert count(
               IO.iodata_to_binary([
                 binary_part(whole, 0, 10),
                 binary_part(whole, 10, byte_size(whole) - 10)
               ])
             ) == 3

      assert count({part}) == 1
      assert count({whole}) == 2
    end

    test "may be deep and long" do
      deep = Enum.reduce(1..10_000, :core, fn _, id -> {id} end)

      assert_all_distinct([
        deep,
        {deep},
        [deep],
        Enum.to_list(1..10_000),
        Enum.to_list(1..10_001),
        List.to_tuple(Enum.to_list(1..10_000))
      ])
    end

    test "never collides among 100,000 random ids" do
      :rand.seed(:exsss, {1, 2, 3})
      ids = for(_ <- 1..100_000, do: random_id(3)) |> Enum.uniq()
      answers = RateLimiter.check_batch(:ids, Enum.map(ids, &{&1, 1}), :w)
      assert Enum.all?(answers, fn {:ok, usage} -> usage.current == 1 end)
      assert RateLimiter.stats().keys == length(ids)
    end
  end

  defp random_id(0),
    do:
      Enum.random([
        :rand.uniform(50) - 25,
        <<:rand.uniform(256) - 1>>,
        "",
        Enum.random([:a, :b, :"1"])
      ])

  defp random_id(depth) do
    case :rand.uniform(6) do
      1 -> :rand.uniform(1_000)
      2 -> :rand.bytes(:rand.uniform(6))
      3 -> Integer.to_string(:rand.uniform(1_000))
      4 -> List.to_tuple(random_ids(depth))
      5 -> random_ids(depth)
      6 -> 2 ** 64 * (:rand.uniform(1_000) - 500)
    end
  end

  defp random_ids(depth), do: for(_ <- 1..:rand.uniform(4), do: random_id(depth - 1))
end
