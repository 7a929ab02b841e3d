defmodule RateLimiter.Replay.TableTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.ReplayReport

  alias RateLimiter.Replay.Table
  alias RateLimiter.Terminal.Text

  @moduletag :tmp_dir

  @plain %{color: false, unicode: true}

  defp table(report, screen \\ @plain),
    do: report |> Table.render(screen) |> IO.iodata_to_binary()

  test "the table fits 80 columns, without spaces at the end of a line", context do
    limits = [
      "1/min",
      "1234567890/min:burst=9876543210",
      "2/365d:sliding_window:sub_windows=60"
    ]

    for options <- [[], [limits: limits, by: ["ip", "user", "path"]]] do
      for line <- context |> report(options) |> table() |> String.split("\n") do
        assert Text.width(line) <= 80, line
        assert line == String.trim_trailing(line), inspect(line)
      end
    end
  end

  test "the table has notes, the smallest limit, the most denied and the hours", context do
    text = table(report(context, limits: ["1/min"], top: 2))
    assert text =~ "could not be read (0.01 %):\n    a <i>log.log:"
    assert text =~ "neither Common Log Format nor a JSON object\n      <b>broken</b>\\x1B[31m\n"

    assert String.replace(text, ~r/\s+/, " ") =~
             ~r/ the log has lines that are more than 1 min out of order, and was sorted by time /

    assert text =~ "has no ip and was not judged"
    assert text =~ ~r/\n  smallest limit  that denies no client +2\/min\n/
    assert text =~ ~r/\n  most denied +requests +denied +share +longest wait\n/

    assert text =~
             ~r/\n              most from \d\d:00 to \d\d:00: [\d,]+ of [\d,]+ \(\+0000\)\n/
  end

  test "the table has colour and block characters only if the screen has", context do
    report = report(context)
    refute table(report) =~ "\e["
    assert table(report, %{color: true, unicode: true}) =~ "\e[31m"
    ascii = table(report, %{color: false, unicode: false})

    bars =
      for line <- String.split(ascii, "\n"),
          not String.contains?(line, ["…", "<script>"]),
          do: line

    assert Enum.all?(bars, &(&1 == for(<<char <- &1>>, char < 128, into: "", do: <<char>>)))
  end

  test "the table of an empty log says so", context do
    assert table(report(context, log: "")) =~ "\n  the log is empty\n"
    text = table(report(context, log: "rubbish\n"))
    assert text =~ "\n  no line could be judged\n"
    refute text =~ "──"
  end

  test "the table names a field that Common Log Format does not have", context do
    log = ~s(a - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1\n)
    assert table(report(context, log: log, by: "tenant")) =~ "Common Log Format has no tenant\n"
  end
end
