defmodule RateLimiter.Core.OptionsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Core.Options

  @schema [
    size: [type: :pos_integer, default: 5_000_000, doc: "how large."],
    kind: [type: {:in, [:a, :b]}, required: true, doc: "which."],
    parts: [
      type: {:each, &__MODULE__.part!/2},
      default: [],
      doc: "of what.",
      keys: [width: [type: :any, doc: "how wide."]]
    ]
  ]

  def part!(value, path), do: {value, path}

  describe "validate!/3" do
    test "returns a map of the given values and the defaults" do
      assert Options.validate!([kind: :a], @schema, []) == %{size: 5_000_000, kind: :a, parts: []}
    end

    test "calls the function of an option with each value and its path" do
      assert %{parts: [left: {1, [:root, :parts, :left]}, right: {2, [:root, :parts, :right]}]} =
               Options.validate!([kind: :a, parts: [left: 1, right: 2]], @schema, [:root])
    end

    test "shortens a long value in the message" do
      error =
        assert_raise ArgumentError, fn ->
          Options.validate!([kind: String.duplicate("x", 100_000)], @schema, [])
        end

      assert String.length(error.message) < 400
    end
  end

  describe "nearest/2" do
    test "returns the most similar name, or nil if none is similar" do
      assert Options.nearest(:windws, [:limiters, :windows, :window]) == :windows
      assert Options.nearest(:zzz, [:limiters, :windows]) == nil
      assert Options.nearest(:a, []) == nil
    end
  end

  describe "list/1" do
    test "returns an English list of at most twenty names" do
      assert Options.list([]) == "none"
      assert Options.list([:a]) == ":a"
      assert Options.list([:a, :b, :c]) == ":a, :b and :c"
      assert Options.list(for n <- 10..40, do: :"n#{n}") =~ ~r/^:n10, .*:n29 and 11 more$/
    end
  end

  describe "show/1" do
    test "returns a small term as inspect/1 does" do
      for term <- [nil, :a, -7, 1.5, "text", {:a, [1, %{b: "c"}]}, Enum.to_list(1..20), 10 ** 70],
          do: assert(Options.show(term) == inspect(term))
    end

    test "bounds the length of any term, and the time that it takes" do
      huge = Integer.pow(2, 400_000)
      deep = Enum.reduce(1..100_000, :leaf, fn _, inner -> [inner] end)
      wide = Enum.reduce(1..6, 1, fn _, inner -> List.duplicate(inner, 30) end)

      for term <- [huge, -huge, deep, wide, String.duplicate("x", 1_000_000), <<0::8_000_000>>],
          nested <- [
            term,
            {term, term},
            [term | term],
            %{term => term},
            [a: term],
            {[{1.5, term}]}
          ] do
        {us, text} = :timer.tc(fn -> Options.show(nested) end)
        assert byte_size(text) < 20_000
        assert us < 1_000_000
      end

      assert Options.show(huge) == "#Integer<50001 bytes>"
    end
  end

  describe "docs/2" do
    test "returns the schema as a Markdown list" do
      assert Options.docs(@schema) == """
             * `:size` - how large. Default: `5_000_000`.
             * `:kind` - which. Required.
             * `:parts` - of what. Default: `[]`.
               * `:width` - how wide.\
             """
    end
  end
end
