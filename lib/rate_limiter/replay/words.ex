defmodule RateLimiter.Replay.Words do
  @moduledoc false
  # Numbers, spans and foreign text as a person reads them.

  @units [
    {86_400_000_000_000, "d"},
    {3_600_000_000_000, "h"},
    {60_000_000_000, "min"},
    {1_000_000_000, "s"}
  ]

  @doc """
  A whole number with its thousands apart.

      iex> RateLimiter.Replay.Words.count(1_234_567)
      "1,234,567"
  """
  @spec count(non_neg_integer) :: String.t()
  def count(number) do
    number
    |> Integer.to_string()
    |> String.replace(~r/\B(?=(\d{3})+$)/, ",")
  end

  @doc """
  `count/1` and the noun, in the plural where it belongs.

      iex> RateLimiter.Replay.Words.count(1, "line")
      "1 line"
  """
  @spec count(non_neg_integer, String.t()) :: String.t()
  def count(1, noun), do: "1 #{noun}"
  def count(number, noun), do: "#{count(number)} #{noun}s"

  @doc """
  A part of a whole in per cent: none and all only where it is none and all.

      iex> alias RateLimiter.Replay.Words
      iex> Enum.map([{0, 9}, {1, 100_000}, {1, 60}, {1, 3}, {99_999, 100_000}, {9, 9}, {0, 0}], fn {part, whole} ->
      ...>   Words.percent(part, whole)
      ...> end)
      ["0 %", "<0.01 %", "1.67 %", "33.3 %", ">99.9 %", "100 %", "0 %"]
  """
  @spec percent(non_neg_integer, non_neg_integer) :: String.t()
  def percent(0, _whole), do: "0 %"
  def percent(whole, whole), do: "100 %"
  def percent(part, whole) when part * 10_000 < whole, do: "<0.01 %"
  def percent(part, whole) when part * 1_000 > whole * 999, do: ">99.9 %"
  def percent(part, whole) when part * 10 < whole, do: decimal(part, whole, 100) <> " %"
  def percent(part, whole), do: decimal(part, whole, 10) <> " %"

  @doc """
  A share in parts per million as per cent.

      iex> Enum.map([0, 10_000, 1_500, 1_000_000], &RateLimiter.Replay.Words.share/1)
      ["0 %", "1 %", "0.15 %", "100 %"]
  """
  @spec share(non_neg_integer) :: String.t()
  def share(ppm) do
    digits = ppm |> rem(10_000) |> Integer.to_string() |> String.pad_leading(4, "0")

    case String.trim_trailing(digits, "0") do
      "" -> "#{div(ppm, 10_000)} %"
      digits -> "#{div(ppm, 10_000)}.#{digits} %"
    end
  end

  @doc """
  A span of nanoseconds in its two largest units, rounded up, as waits are; `nil` is one without an end.

      iex> alias RateLimiter.Replay.Words
      iex> Enum.map([0, 1_500_000, 52_000_000_001, 80_000_000_000, 90_000_000_000_000, nil], &Words.span/1)
      ["0 s", "2 ms", "53 s", "1 min 20 s", "1 d 1 h", "for ever"]
  """
  @spec span(non_neg_integer | nil) :: String.t()
  def span(nil), do: "for ever"
  def span(0), do: "0 s"
  def span(ns) when ns <= 999_000_000, do: "#{ceil_div(ns, 1_000_000)} ms"

  def span(ns) do
    seconds = ceil_div(ns, 1_000_000_000) * 1_000_000_000

    # The first unit that it reaches, and the next smaller; what is below that is rounded up into it.
    at = Enum.find_index(@units, fn {unit, _name} -> seconds >= unit end)

    case Enum.slice(@units, at, 2) do
      [{unit, name}] ->
        "#{div(seconds, unit)} #{name}"

      [{unit, name}, {small, small_name}] ->
        rounded = ceil_div(seconds, small) * small

        case rem(rounded, unit) do
          0 -> "#{div(rounded, unit)} #{name}"
          rest -> "#{div(rounded, unit)} #{name} #{div(rest, small)} #{small_name}"
        end
    end
  end

  @doc """
  The same to the nearest of its second largest unit, as how long a log is.

      iex> RateLimiter.Replay.Words.about(300_059_000_000_000)
      "3 d 11 h"
  """
  @spec about(non_neg_integer) :: String.t()
  def about(ns) do
    case Enum.find_index(@units, fn {unit, _name} -> ns >= unit end) do
      at when at in [0, 1, 2] ->
        {small, _name} = Enum.at(@units, at + 1)
        span(div(ns + div(small, 2), small) * small)

      _seconds ->
        span(ns)
    end
  end

  @doc """
  A moment on the clock of a zone.

      iex> RateLimiter.Replay.Words.moment(1_431_857_103, 120)
      "2015-05-17 12:05:03 +0200"
  """
  @spec moment(integer, integer) :: String.t()
  def moment(unix_seconds, zone_minutes),
    do: "#{local(unix_seconds, zone_minutes)} #{zone(zone_minutes)}"

  @doc "The same without the zone."
  @spec local(integer, integer) :: String.t()
  def local(unix_seconds, zone_minutes) do
    (unix_seconds + zone_minutes * 60)
    |> DateTime.from_unix!()
    |> Calendar.strftime("%Y-%m-%d %H:%M:%S")
  end

  @doc "A zone as logs write it."
  @spec zone(integer) :: String.t()
  def zone(minutes) do
    sign = if minutes < 0, do: "-", else: "+"
    two = fn number -> number |> Integer.to_string() |> String.pad_leading(2, "0") end
    sign <> two.(div(abs(minutes), 60)) <> two.(rem(abs(minutes), 60))
  end

  @doc """
  Foreign bytes as text that can do nothing to a terminal or a page: what is not printable is escaped.

      iex> RateLimiter.Replay.Words.visible("caf\\u00e9 \\e[31m" <> <<255>>)
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

  # Not the control characters, nor those that are not seen or turn the direction of what follows.
  defp plain?(char) when char < 0x20 or char in 0x7F..0x9F, do: false
  defp plain?(char) when char in 0x200B..0x200F or char in 0x2028..0x202E, do: false
  defp plain?(char) when char in 0x2060..0x206F or char == 0xFEFF, do: false
  defp plain?(char) when char in 0xFFF9..0xFFFF or char >= 0xE0000, do: false
  defp plain?(_char), do: true

  defp escaped(char) when char < 0x100, do: "\\x" <> hex(char, 2)
  defp escaped(char), do: "\\u{" <> hex(char, 4) <> "}"

  defp hex(number, width), do: number |> Integer.to_string(16) |> String.pad_leading(width, "0")

  @doc """
  Text in lines of at most so many columns, broken at spaces.

      iex> RateLimiter.Replay.Words.wrap("the quick brown fox", 10)
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
  Text in exactly so many columns of a terminal: cut with an ellipsis, or filled up with spaces.

      iex> {RateLimiter.Replay.Words.fit("日本語", 5), RateLimiter.Replay.Words.fit("abcdef", 4)}
      {"日本…", "abc…"}
  """
  @spec fit(String.t(), pos_integer) :: String.t()
  def fit(text, columns) do
    case columns - width(text) do
      missing when missing >= 0 -> text <> String.duplicate(" ", missing)
      _ -> fit(cut(text, columns - 1) <> "…", columns)
    end
  end

  @doc "The text if it is no wider than this, else its beginning and an ellipsis."
  @spec at_most(String.t(), pos_integer) :: String.t()
  def at_most(text, columns) do
    if width(text) <= columns, do: text, else: cut(text, columns - 1) <> "…"
  end

  @doc "How many columns of a terminal the text takes."
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

  # East Asian characters and pictures take two columns.
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

  defp ceil_div(number, by), do: div(number + by - 1, by)

  defp decimal(part, whole, steps) do
    scaled = div(part * 100 * steps * 2 + whole, whole * 2)
    places = if steps == 100, do: 2, else: 1
    :erlang.float_to_binary(scaled / steps, decimals: places)
  end
end
