defmodule RateLimiter.Store.LookupTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Store.Lookup

  test "distinct atoms are valid names and are returned unchanged" do
    for names <- [:a, nil, [], [:a], [:b, :a, nil]], do: assert(Lookup.valid!(names) === names)
  end

  test "a selection with a repeated name would charge a window twice, and is refused" do
    :rand.seed(:exsss, 4)

    for _ <- 1..200 do
      names = for _ <- 1..:rand.uniform(5), do: Enum.random([:a, :b, :c, :d, :e, nil])

      if Enum.uniq(names) == names do
        assert Lookup.valid!(names) == names
      else
        assert_raise ArgumentError, fn -> Lookup.valid!(names) end
      end
    end
  end

  test "other terms are refused" do
    for bad <- ["a", 1, {:a}, %{}, [1], ["a"], [:a, "b"], [:a | :b], [[:a]]],
        do: assert_raise(ArgumentError, fn -> Lookup.valid!(bad) end)
  end

  test "a selection of one name is that name, also nil" do
    assert Lookup.names(nil) == [nil]
    assert Lookup.names(:a) == [:a]
    assert Lookup.names([]) == []
    assert Lookup.names([:a, nil]) == [:a, nil]
  end

  test "an unknown limiter raises and names it" do
    error = assert_raise ArgumentError, fn -> Lookup.handle!(:lookup_test_unknown) end
    assert error.message =~ ":lookup_test_unknown"
    assert Lookup.windows(:lookup_test_unknown) == nil
  end
end
