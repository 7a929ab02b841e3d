defmodule RateLimiter.Terminal.TextTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Terminal.Text

  doctest Text

  test "visible/1 leaves no character that moves a cursor, hides, or turns text around" do
    every = for byte <- 0..255, into: "", do: <<byte>>
    codes = for char <- [0x200B, 0x202E, 0x2066, 0xFEFF, 0xE0001], into: "", do: <<char::utf8>>
    text = Text.visible(every <> codes <> "é日😀")
    assert String.valid?(text)
    refute text =~ ~r/[\x00-\x1F\x7F]/
    refute String.contains?(text, String.codepoints(codes))
    assert String.ends_with?(text, "é日😀")
  end

  test "fit/2 takes exactly the given columns for any text" do
    for text <- ["", "a", "日本語", "👍🏽👍🏽👍🏽", String.duplicate("x", 50)], columns <- 1..20 do
      assert Text.width(Text.fit(text, columns)) == columns
    end
  end
end
