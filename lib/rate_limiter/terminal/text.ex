defmodule RateLimiter.Terminal.Text do
  @moduledoc false
  # Text for a terminal: safe to print, wrapped, cut and measured in columns.

  @doc """
  Returns bytes as text that is safe in a terminal or a page, with unprintable characters escaped.

      iex> RateLimiter.Terminal.Text.visible("caf\\u00e9 \\e[31m" <> <<255>>)
      "café \\\\x1B[31m\\\\xFF"
  """
  @spec visible(binary) :: String.t()
  def visible(bytes), do: visible(bytes, "")

  defp visible(<<char::utf8, rest::binary>>, done) do
    if plain?(char),
      do: visible(rest, <<done::binary, char::utf8>>),
      else: visible(rest, done <> escaped(char))
  end

  defp visible(<<byte, rest::binary>>, done), do: visible(rest, done <> escaped(byte))
  defp visible("", done), do: done

  # Not control characters, invisible ones, and those that turn the direction of the text.
  defp plain?(char) when char < 0x20 or char in 0x7F..0x9F, do: false
  defp plain?(char) when char in 0x200B..0x200F or char in 0x2028..0x202E, do: false
  defp plain?(char) when char in 0x2060..0x206F or char == 0xFEFF, do: false
  defp plain?(char) when char in 0xFFF9..0xFFFF or char >= 0xE0000, do: false
  defp plain?(_char), do: true

  defp escaped(char) when char < 0x100, do: "\\x" <> hex(char, 2)
  defp escaped(char), do: "\\u{" <> hex(char, 4) <> "}"

  defp hex(number, width), do: number |> Integer.to_string(16) |> String.pad_leading(width, "0")

  @doc """
  Returns text in lines of at most the given columns, broken at spaces.

      iex> RateLimiter.Terminal.Text.wrap("the quick brown fox", 10)
      ["the quick", "brown fox"]
  """
  @spec wrap(String.t(), pos_integer) :: [String.t()]
  def wrap(text, columns) do
    text
    |> String.split(" ")
    |> Enum.reduce([], &put_word(&1, &2, columns))
    |> Enum.reverse()
  end

  defp put_word(word, [], _columns), do: [word]

  defp put_word(word, [line | lines], columns) do
    longer = line <> " " <> word
    if width(longer) <= columns, do: [longer | lines], else: [word, line | lines]
  end

  @doc """
  Returns text in exactly the given columns: cut with an ellipsis, or padded with spaces.

      iex> {RateLimiter.Terminal.Text.fit("日本語", 5), RateLimiter.Terminal.Text.fit("abcdef", 4)}
      {"日本…", "abc…"}
  """
  @spec fit(String.t(), pos_integer) :: String.t()
  def fit(text, columns) do
    case columns - width(text) do
      missing when missing >= 0 -> text <> String.duplicate(" ", missing)
      _ -> fit(cut(text, columns - 1) <> "…", columns)
    end
  end

  @doc "Returns text in at most the given columns, cut with an ellipsis."
  @spec at_most(String.t(), pos_integer) :: String.t()
  def at_most(text, columns) do
    if width(text) <= columns, do: text, else: cut(text, columns - 1) <> "…"
  end

  @doc "Returns the number of columns that text takes in a terminal."
  @spec width(String.t()) :: non_neg_integer
  def width(text), do: text |> String.graphemes() |> Enum.map(&columns/1) |> Enum.sum()

  defp cut(text, columns) do
    text
    |> String.graphemes()
    |> Enum.reduce_while({"", 0}, fn grapheme, {kept, taken} ->
      taken = taken + columns(grapheme)
      if taken > columns, do: {:halt, {kept, taken}}, else: {:cont, {kept <> grapheme, taken}}
    end)
    |> elem(0)
  end

  # East Asian characters and emoji take two columns.
  @wide [
    0x1100..0x115F,
    0x2E80..0xA4CF,
    0xAC00..0xD7A3,
    0xF900..0xFAFF,
    0xFE30..0xFE6F,
    0xFF00..0xFF60,
    0xFFE0..0xFFE6,
    0x1F300..0x1FAFF,
    0x20000..0x3FFFD
  ]

  defp columns(<<char::utf8, _rest::binary>>) do
    if Enum.any?(@wide, &(char in &1)), do: 2, else: 1
  end
end
