defmodule RateLimiter.Terminal.Screen do
  @moduledoc false
  # The abilities of a terminal, and text that uses them: colour, block characters, columns.

  alias RateLimiter.Terminal.Text

  @columns 80
  @eighths ~w(▏ ▎ ▍ ▌ ▋ ▊ ▉ █)
  @heights ~w(▁ ▂ ▃ ▄ ▅ ▆ ▇ █)

  @type t :: %{
          required(:color) => boolean,
          required(:unicode) => boolean,
          optional(:columns) => pos_integer
        }
  @type style :: :bold | :faint | :red | :green | :yellow

  @doc "Returns the abilities of standard output. Respects `NO_COLOR`."
  @spec of_stdout() :: t
  def of_stdout do
    unicode = :io.getopts(:standard_io)[:encoding] in [:unicode, :utf8]
    %{color: IO.ANSI.enabled?() and System.get_env("NO_COLOR", "") == "", unicode: unicode}
  end

  @doc "Returns the number of columns of every layout."
  @spec columns() :: pos_integer
  def columns, do: @columns

  @doc "Returns text in a style, if the terminal has colour."
  @spec style(t, style, IO.chardata()) :: IO.chardata()
  def style(%{color: false}, _style, text), do: text
  def style(_screen, :bold, text), do: [IO.ANSI.bright(), text, IO.ANSI.reset()]
  def style(_screen, :faint, text), do: [IO.ANSI.faint(), text, IO.ANSI.reset()]
  def style(_screen, colour, text), do: [apply(IO.ANSI, colour, []), text, IO.ANSI.reset()]

  @doc "Returns a line across the screen with a title in it."
  @spec rule(t, String.t(), pos_integer) :: IO.chardata()
  def rule(screen, title, columns \\ @columns) do
    line = if screen.unicode, do: "─", else: "-"
    title = " " <> Text.at_most(title, columns - 6) <> " "
    rest = columns - 2 - Text.width(title)

    [style(screen, :faint, String.duplicate(line, 2)), style(screen, :bold, title)] ++
      [style(screen, :faint, String.duplicate(line, rest)), "\n"]
  end

  @doc "Returns a bar of `part / whole` of the columns. A bar of any positive part is visible."
  @spec bar(t, number, number, pos_integer) :: String.t()
  def bar(_screen, part, whole, _columns) when part <= 0 or whole <= 0, do: ""

  def bar(%{unicode: false}, part, whole, columns),
    do: String.duplicate("#", max(1, round(part / whole * columns)))

  def bar(_screen, part, whole, columns) do
    eighths = max(1, round(part / whole * columns * 8))
    full = String.duplicate("█", div(eighths, 8))
    if rem(eighths, 8) == 0, do: full, else: full <> Enum.at(@eighths, rem(eighths, 8) - 1)
  end

  @doc "Returns one character of a row of small vertical bars."
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

  @doc "Returns text right-aligned in the given columns."
  @spec right(String.t(), pos_integer) :: String.t()
  def right(text, columns), do: String.duplicate(" ", max(0, columns - Text.width(text))) <> text
end
