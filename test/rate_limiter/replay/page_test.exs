defmodule RateLimiter.Replay.PageTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.ReplayReport

  alias RateLimiter.Replay.Page

  @moduletag :tmp_dir

  defp page(report), do: report |> Page.render() |> IO.iodata_to_binary()

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

    # Three charts for each limit, for wide and for narrow pages, and a row of marks for each denied client.
    marks = report(context).verdicts |> Enum.map(&length(&1.top)) |> Enum.sum()
    assert marks > 2
    assert length(drawings) == 12 + marks
    assert length(:xmerl_xpath.string(~c(//svg[@role="img"]/title), document)) == 12
    assert length(:xmerl_xpath.string(~c"//svg/desc", document)) == 12
    ids = for attribute <- :xmerl_xpath.string(~c"//@id", document), do: elem(attribute, 8)
    assert ids == Enum.uniq(ids)
  end

  test "the paths and the statuses of denied requests", context do
    request = fn client, path, status ->
      ~s(#{client} - - [17/May/2015:10:05:03 +0000] "GET #{path} HTTP/1.1" #{status} 1\n)
    end

    log = [
      for(page <- 1..3, do: request.("10.0.0.1", "/search?page=#{page}", 200)),
      request.("10.0.0.1", "/<b>", 404),
      request.("10.0.0.2", "/home", 200)
    ]

    report = report(context, log: log, limits: ["2/min"])
    assert [%{paths: paths, statuses: statuses, top: [top]}] = report.verdicts

    assert paths == [
             %{value: "/search", requests: 3, denied: 1},
             %{value: "/<b>", requests: 1, denied: 1}
           ]

    assert statuses == [
             %{value: "200", requests: 4, denied: 1},
             %{value: "404", requests: 1, denied: 1}
           ]

    assert Enum.reject(top.marks, &(&1 == {0, 0})) == [{2, 2}]
    page = page(report)
    assert page =~ "Denied requests by path"
    assert page =~ "<code>/&lt;b&gt;</code>"
    assert page =~ "Denied requests by status"
    # One column: the whole log is one second.
    assert [_, _] = String.split(page, ~s(aria-label="2 of 4 requests denied"))
  end

  test "a log without paths has no table of them, and without a search no marks", context do
    log = for _ <- 1..3, do: ~s({"time":1431820800,"ip":"a"}\n)
    page = page(report(context, log: log, limits: ["2/min"], fit: false))
    assert page =~ "Denied most often"
    refute page =~ "Denied requests by"
    refute page =~ ~s(class="marks")
    refute page =~ "The marks show"
  end

  test "an empty log and a single request have a page", context do
    assert page(report(context, log: "")) =~ "the log is empty"
    one = page(report(context, log: ~s({"time":1431820800,"ip":"a"}\n)))
    assert one =~ "1 request by 1 client"
    refute one =~ ~r/NaN|inf/
  end
end
