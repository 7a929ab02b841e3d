defmodule RateLimiter.Terminal.ScreenTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Terminal.{Screen, Text}

  @plain %{color: false, unicode: false}
  @rich %{color: true, unicode: true}

  test "without colour a style changes nothing, with colour it is reset" do
    for style <- [:bold, :faint, :red, :green, :yellow] do
      assert Screen.style(@plain, style, "text") == "text"
      styled = @rich |> Screen.style(style, "text") |> IO.iodata_to_binary()
      assert String.ends_with?(styled, "text" <> IO.ANSI.reset())
      assert String.starts_with?(styled, "\e[")
    end
  end

  test "a rule is as wide as the screen, whatever its title" do
    for screen <- [@plain, %{@plain | unicode: true}],
        title <- ["", "title", String.duplicate("long", 50)],
        columns <- [20, Screen.columns()] do
      rule = screen |> Screen.rule(title, columns) |> IO.chardata_to_string()
      assert Text.width(String.trim_trailing(rule, "\n")) == columns
    end
  end

  test "a bar grows with its part, shows any positive part, and fits" do
    for screen <- [@plain, @rich] do
      widths = for part <- 1..1_000, do: String.length(Screen.bar(screen, part, 1_000, 10))
      assert widths == Enum.sort(widths)
      assert hd(widths) == 1
      assert List.last(widths) == 10

      for {part, whole} <- [{0, 10}, {-1, 10}, {1, 0}],
          do: assert(Screen.bar(screen, part, whole, 10) == "")
    end
  end

  test "a full bar is made of full blocks, a part of a column of eighths" do
    assert Screen.bar(@rich, 1, 1, 3) == "███"
    assert Screen.bar(@rich, 3, 16, 2) == "▍"
  end

  test "a small bar is one character, grows with its part, and shows any positive part" do
    for {screen, heights} <- [{@plain, ~w(. - + #)}, {@rich, ~w(· ▁ ▂ ▃ ▄ ▅ ▆ ▇ █)}] do
      shown = for part <- 0..100, do: Screen.height(screen, part, 100)
      assert Enum.dedup(shown) == heights
      assert Screen.height(screen, 1, 1_000_000) == Enum.at(heights, 1)
    end
  end

  test "text is aligned by its columns, and never cut" do
    assert Screen.right("ab", 4) == "  ab"
    assert Screen.right("ü", 3) == "  ü"
    assert Screen.right("long", 2) == "long"
  end
end
