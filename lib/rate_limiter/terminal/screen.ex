defmodule RateLimiter.Terminal.Screen do
  @moduledoc false
  # What the terminal can show, and how to show it there: colour, block characters, columns.

  alias RateLimiter.Terminal.Text

  @columns 80
  @eighths ~w(▏ ▎ ▍ ▌ ▋ ▊ ▉ █)
  @heights ~w(▁ ▂ ▃ ▄ ▅ ▆ ▇ █)

  @type t :: %{color: boolean, unicode: boolean}
  @type style :: :bold | :faint | :red | :green | :yellow

  @doc "What standard output can show. `NO_COLOR` is respected."
  @spec of_stdout() :: t
  def of_stdout do
    unicode = :io.getopts(:standard_io)[:encoding] in [:unicode, :utf8]
    %{color: IO.ANSI.enabled?() and System.get_env("NO_COLOR", "") == "", unicode: unicode}
  end

  @doc "As many columns as everything is laid out for."
  @spec columns() :: pos_integer
  def columns, do: @columns

  @doc "Text in a style, where there is colour."
  @spec style(t, style, IO.chardata()) :: IO.chardata()
  def style(%{color: false}, _style, text), do: text
  def style(_screen, :bold, text), do: [IO.ANSI.bright(), text, IO.ANSI.reset()]
  def style(_screen, :faint, text), do: [IO.ANSI.faint(), text, IO.ANSI.reset()]
  def style(_screen, colour, text), do: [apply(IO.ANSI, colour, []), text, IO.ANSI.reset()]

  @doc "A line across the screen with a title in it."
  @spec rule(t, String.t()) :: IO.chardata()
  def rule(screen, title) do
    line = if screen.unicode, do: "─", else: "-"
    title = " " <> Text.at_most(title, @columns - 6) <> " "
    rest = @columns - 2 - Text.width(title)

    [style(screen, :faint, String.duplicate(line, 2)), style(screen, :bold, title)] ++
      [style(screen, :faint, String.duplicate(line, rest)), "\n"]
  end

  @doc "A bar of `part / whole` of so many columns; something is seen of anything."
  @spec bar(t, number, number, pos_integer) :: String.t()
  def bar(_screen, part, whole, _columns) when part <= 0 or whole <= 0, do: ""

  def bar(%{unicode: false}, part, whole, columns),
    do: String.duplicate("#", max(1, round(part / whole * columns)))

  def bar(_screen, part, whole, columns) do
    eighths = max(1, round(part / whole * columns * 8))
    full = String.duplicate("█", div(eighths, 8))
    if rem(eighths, 8) == 0, do: full, else: full <> Enum.at(@eighths, rem(eighths, 8) - 1)
  end

  @doc "One column of a row of small bars."
  @spec height(t, number, number) :: String.t()
  def height(%{unicode: false}, part, whole) do
    cond do
      part <= 0 -> "."
      part * 3 <= whole -> "-"
      part * 3 <= whole * 2 -> "+"
      true -> "#"
    end
  end

  def height(_screen, part, _whole) when part <= 0, do: "·"
  def height(_screen, part, whole), do: Enum.at(@heights, ceil(part / whole * 8) - 1)

  @doc "Text at the right end of so many columns."
  @spec right(String.t(), pos_integer) :: String.t()
  def right(text, columns), do: String.duplicate(" ", max(0, columns - Text.width(text))) <> text
end
