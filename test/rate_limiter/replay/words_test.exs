defmodule RateLimiter.Replay.WordsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Replay.Words

  doctest Words
  doctest RateLimiter.Replay.Fields

  describe "visible/1" do
    test "leaves nothing that moves a cursor, hides, or turns text around" do
      every = for byte <- 0..255, into: "", do: <<byte>>
      codes = for char <- [0x200B, 0x202E, 0x2066, 0xFEFF, 0xE0001], into: "", do: <<char::utf8>>
      text = Words.visible(every <> codes <> "é日😀")
      assert String.valid?(text)
      refute text =~ ~r/[\x00-\x1F\x7F]/
      refute String.contains?(text, String.codepoints(codes))
      assert String.ends_with?(text, "é日😀")
    end
  end

  describe "span/1" do
    test "is never shorter than what it stands for" do
      for ns <- [1, 999_999, 999_000_001, 59_000_000_001, 3_599_000_000_001, 86_399_999_999_999] do
        assert Words.span(ns) != Words.span(0)
      end

      assert Words.span(999_000_001) == "1 s"
      assert Words.span(59_000_000_001) == "1 min"
      assert Words.span(3_599_000_000_001) == "1 h"
      assert Words.span(3_600_000_000_001) == "1 h 1 min"
    end
  end

  describe "fit/2" do
    test "takes exactly so many columns, whatever is in the text" do
      for text <- ["", "a", "日本語", "👍🏽👍🏽👍🏽", String.duplicate("x", 50)], columns <- 1..20 do
        assert Words.width(Words.fit(text, columns)) == columns
      end
    end
  end
end
