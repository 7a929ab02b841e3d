defmodule RateLimiter.Core.JsonTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Json, only: [decode!: 1]

  alias RateLimiter.Core.Json

  doctest Json

  test "a string has no bare quote, backslash or control character, and decodes to itself" do
    :rand.seed(:exsss, 8)
    chars = Enum.map(0..0x1F, &<<&1>>) ++ ["\"", "\\", "a", "ü", "€", "😀", "\d", "\u2028"]

    for _ <- 1..300 do
      text = for _ <- 1..:rand.uniform(20), into: "", do: Enum.random(chars)
      encoded = encode(text)
      refute encoded =~ ~r/[\x00-\x1f]/
      assert decode!(encoded) == text
    end
  end

  test "numbers and literals are those of JSON" do
    for {value, json} <- [
          {nil, "null"},
          {true, "true"},
          {false, "false"},
          {0, "0"},
          {-12, "-12"},
          {0.1, "0.1"},
          {1.0, "1.0"},
          {[], "[]"},
          {[1, "a", nil], ~s([1, "a", null])}
        ],
        do: assert(encode(value) == json)

    for float <- [1.0e-9, 1.0e22, 0.30000000000000004, -0.5] do
      assert {^float, ""} = Float.parse(encode(float))
    end
  end

  test "an object keeps the order of its members" do
    assert encode(z: 1, a: 2) == ~s({\n  "z": 1,\n  "a": 2\n})
  end

  test "a table has one line a row, and a row that holds a list is spread out" do
    assert encode([[a: 1, b: 2], [a: 3, b: []]]) ==
             ~s([\n  {"a": 1, "b": 2},\n  {"a": 3, "b": []}\n])

    assert encode([[a: [1]]]) == ~s([\n  {\n    "a": [1]\n  }\n])
  end

  defp encode(term), do: term |> Json.encode() |> IO.iodata_to_binary()
end
