defmodule RateLimiter.Top.LiveTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Top.Live

  test "every line can be reached in a terminal of any size" do
    lines = for number <- 1..60, do: "line #{number}"

    for rows <- [5, 24, 61, 100], columns <- [80, 200] do
      seen =
        for offset <- 0..80 do
          {picture, offset} = Live.view(lines, {columns, rows}, offset)
          picture = String.split(IO.iodata_to_binary(picture), "\e[K\r\n")
          assert length(picture) == rows
          assert hd(picture) == "line 1"
          assert offset in 0..max(0, 59 - (rows - 2))
          picture
        end

      assert Enum.sort(lines) -- List.flatten(seen) == []
    end
  end

  test "keys scroll within the lines" do
    lines = for number <- 1..60, do: "line #{number}"

    view = fn keys ->
      lines |> Live.view({80, 24}, Enum.reduce(keys, 0, &Live.scrolled(&2, &1))) |> elem(1)
    end

    assert view.([]) == 0
    assert view.(["\e[B", "j", "\e[A"]) == 1
    assert view.(["k", "\e[5~"]) == 0
    assert view.(["\e[6~"]) == 15
    assert view.(["G"]) == 59 - 22
    assert view.(["G", "g", "x"]) == 0
  end

  test "the last line says which lines are shown, and fits the terminal" do
    lines = for number <- 1..60, do: "line #{number}"

    status = fn lines, size ->
      lines
      |> Live.view(size, 10)
      |> elem(0)
      |> IO.iodata_to_binary()
      |> String.split("\r\n")
      |> List.last()
    end

    assert status.(lines, {80, 24}) == "lines 11 to 32 of 59: arrows scroll, q quits\e[K"
    assert status.(["title", "one", ""], {80, 24}) == "q quits\e[K"
    assert String.length(status.(lines, {20, 24})) == 20 + String.length("\e[K")
  end
end
