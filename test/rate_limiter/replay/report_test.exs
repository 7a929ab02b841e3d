defmodule RateLimiter.Replay.ReportTest do
  # The three forms of a report: table, JSON and page.
  use ExUnit.Case, async: true

  alias RateLimiter.Replay
  alias RateLimiter.Replay.{Json, Page, Table}
  alias RateLimiter.Terminal.Text

  doctest RateLimiter.Replay.Json

  @moduletag :tmp_dir

  @plain %{color: false, unicode: true}

  # A day of a few clients with a busy one, and every defect that a line can have.
  defp log do
    good =
      for minute <- 0..1_439, client <- clients(minute) do
        time = 1_431_820_800 + minute * 60 + rem(client, 60)
        ~s({"time":#{time},"ip":"#{name(client)}"}\n)
      end

    [
      good,
      ~s({"time":1431820800,"ip":"late"}\n),
      "<b>broken</b>\e[31m\n",
      ~s({"time":1431820800}\n)
    ]
  end

  defp clients(minute) when minute in 600..720, do: [1 | Enum.to_list(1..40)]
  defp clients(minute), do: [rem(minute, 97), rem(minute, 7)]

  defp name(1),
    do: ~s(<script>alert\(1\)</script>&amp;\\u001b[31m'\\" ) <> String.duplicate("x", 60)

  defp name(client), do: "10.0.0.#{client}"

  defp report(%{tmp_dir: dir}, options \\ []) do
    path = Path.join(dir, "a <i>log.log")
    File.write!(path, Keyword.get(options, :log, log()))

    options =
      Keyword.merge([limits: ["1/min", "2/min:sliding_log"]], Keyword.delete(options, :log))

    {:ok, report} = Replay.run([path], options)
    report
  end

  defp table(report, screen \\ @plain),
    do: report |> Table.render(screen) |> IO.iodata_to_binary()

  defp page(report), do: report |> Page.render() |> IO.iodata_to_binary()

  describe "Table.render/2" do
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

  describe "Json.render/1" do
    test "JSON has the whole report", context do
      report = report(context)
      json = report |> Json.render() |> IO.iodata_to_binary() |> decode()
      [verdict | _] = report.verdicts

      assert %{
               "by" => ["ip"],
               "broken" => 1,
               "late" => 0,
               "sorted" => true,
               "without_id" => 1,
               "cost" => nil
             } = json

      assert [%{"name" => _, "problem" => nil}] = json["logs"]
      assert [first, second] = json["limits"]
      assert %{"text" => "1/min", "limit" => 1, "per_ms" => 60_000, "burst" => 1} = first
      assert %{"text" => "2/min:sliding_log", "burst" => nil} = second
      assert {first["admitted"], first["denied"]} == {verdict.admitted, verdict.denied}
      assert first["denied_share"] == verdict.denied / verdict.requests

      assert [%{"ids_denied_at_most_percent" => +0.0, "text" => "2/min", "burst" => 2} | _] =
               first["smallest"]

      assert length(first["by_hour"]) == 24
      assert length(first["by_limit"]) == length(verdict.curve)
      assert length(first["over_time"]["columns"]) == length(verdict.columns)
      assert hd(first["top_denied"])["denied"] == hd(verdict.top).denied
    end

    test "JSON is valid for any id, and for an empty log", context do
      report = report(context, by: ["ip", "user"])
      [limit | _] = (report |> Json.render() |> IO.iodata_to_binary() |> decode())["limits"]

      assert [["<script>alert(1)</script>&amp;\\x1B[31m'\" " <> _, nil] | _] =
               for(top <- limit["top_denied"], do: top["id"])

      empty = report(context, log: "") |> Json.render() |> IO.iodata_to_binary() |> decode()

      assert %{"first" => nil, "requests" => 0, "notes" => ["the log is empty"]} = empty
    end
  end

  describe "Page.render/1" do
    test "the page loads nothing", context do
      page = page(report(context))
      assert page =~ ~r/\A<!DOCTYPE html>/

      for needs <- [
            "http:",
            "https:",
            "//",
            "<script",
            "<link",
            "<img",
            "url(",
            "@import",
            "src="
          ] do
        refute String.contains?(page, needs), needs
      end
    end

    test "the page escapes the text of the log", context do
      page = page(report(context, by: ["ip"]))
      refute page =~ "<script>"
      refute page =~ "<i>log"
      refute page =~ "\e"
      assert page =~ "&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;"
      assert page =~ "a &lt;i&gt;log.log"
    end

    test "the page is well-formed, and every drawing has a title and a description", context do
      page = page(report(context))
      # As XML, which is stricter, once the tags that only HTML leaves open are closed.
      xml =
        page
        |> String.replace("<!DOCTYPE html>\n", "")
        |> String.replace(~r/<(meta [^>]*|wbr)>/, "<\\1/>")
        |> String.to_charlist()

      {document, []} = :xmerl_scan.string(xml, quiet: true)
      drawings = :xmerl_xpath.string(~c"//svg", document)
      assert length(drawings) == 6
      assert length(:xmerl_xpath.string(~c(//svg[@role="img"]/title), document)) == 6
      assert length(:xmerl_xpath.string(~c"//svg/desc", document)) == 6
      ids = for attribute <- :xmerl_xpath.string(~c"//@id", document), do: elem(attribute, 8)
      assert ids == Enum.uniq(ids)
    end

    test "an empty log and a single request have a page", context do
      assert page(report(context, log: "")) =~ "the log is empty"
      one = page(report(context, log: ~s({"time":1431820800,"ip":"a"}\n)))
      assert one =~ "1 request by 1 client"
      refute one =~ ~r/NaN|inf/
    end
  end

  # A parser of RFC 8259, independent of the writer.
  defp decode(text) do
    {value, rest} = value(String.trim_leading(text))
    assert String.trim(rest) == ""
    value
  end

  defp value("null" <> rest), do: {nil, rest}
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("[" <> rest), do: rest |> String.trim_leading() |> members("]", [], &value/1)

  defp value("{" <> rest) do
    {pairs, rest} = rest |> String.trim_leading() |> members("}", [], &pair/1)
    assert length(Enum.uniq_by(pairs, &elem(&1, 0))) == length(pairs)
    {Map.new(pairs), rest}
  end

  defp value("\"" <> rest), do: string(rest, "")

  defp value(text) do
    [number] = Regex.run(~r/\A-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/, text)
    {rest, ""} = {String.replace_prefix(text, number, ""), ""}

    {if(number =~ ~r/[.eE]/, do: elem(Float.parse(number), 0), else: String.to_integer(number)),
     rest}
  end

  defp members(text, close, done, each) do
    if String.starts_with?(text, close) do
      {Enum.reverse(done), String.replace_prefix(text, close, "")}
    else
      {member, rest} = each.(text)

      case String.trim_leading(rest) do
        "," <> rest -> rest |> String.trim_leading() |> members(close, [member | done], each)
        rest -> members(rest, close, [member | done], each)
      end
    end
  end

  defp pair("\"" <> rest) do
    {key, rest} = string(rest, "")
    ":" <> rest = String.trim_leading(rest)
    {value, rest} = rest |> String.trim_leading() |> value()
    {{key, value}, rest}
  end

  defp string("\"" <> rest, done), do: {done, rest}
  defp string("\\n" <> rest, done), do: string(rest, done <> "\n")

  defp string("\\u" <> <<hex::binary-size(4), rest::binary>>, done),
    do: string(rest, done <> <<String.to_integer(hex, 16)::utf8>>)

  defp string("\\" <> <<char, rest::binary>>, done) when char in [?", ?\\, ?/],
    do: string(rest, done <> <<char>>)

  defp string(<<char::utf8, rest::binary>>, done) when char >= 0x20,
    do: string(rest, done <> <<char::utf8>>)
end
