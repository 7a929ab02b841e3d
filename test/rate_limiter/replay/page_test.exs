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
    # Three charts for each limit, for wide and for narrow pages.
    assert length(drawings) == 12
    assert length(:xmerl_xpath.string(~c(//svg[@role="img"]/title), document)) == 12
    assert length(:xmerl_xpath.string(~c"//svg/desc", document)) == 12
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
