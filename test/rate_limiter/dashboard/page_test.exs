defmodule RateLimiter.Dashboard.PageTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Viewed

  alias RateLimiter.Dashboard.Page
  alias RateLimiter.Terminal.Html

  defp page(shown, nodes \\ []), do: shown |> Page.render(nodes) |> IO.iodata_to_binary()

  # As XML, which is stricter, without the script and with the tags closed that only HTML leaves open.
  defp document(page) do
    {document, []} =
      page
      |> String.replace("<!DOCTYPE html>\n", "")
      |> String.replace(~r/<script>.*?<\/script>/s, "")
      |> String.replace(~r/<(meta [^>]*)>/, "<\\1/>")
      |> String.to_charlist()
      |> :xmerl_scan.string(quiet: true)

    document
  end

  defp texts(document, path) do
    for element <- :xmerl_xpath.string(path, document) do
      ~c"string()" |> :xmerl_xpath.string(element) |> elem(2) |> List.to_string()
    end
  end

  test "the page is well-formed, and shows hostile names as they are" do
    document = document(page({:ok, view()}, ["a@b", "\"><script>"]))
    shown = "<script>hacked=1</script>\"'&\\u{202E}"

    for path <- [
          ~c"//h2/code",
          ~c"//tbody/tr/th/code",
          ~c(//td[@class="windows"]//code),
          ~c(//p[@class="bad"]),
          ~c(//span[@class="reason"]),
          ~c"//nav/a"
        ],
        texts = texts(document, path) do
      assert texts != [], path
    end

    codes = texts(document, ~c"//code")
    assert Enum.count(codes, &(&1 == shown)) == 7
    assert texts(document, ~c(//p[@class="bad"])) == [shown]
    assert shown in texts(document, ~c(//span[@class="reason"]))
    assert texts(document, ~c"//nav/a") == ["a@b", "\"><script>"]
  end

  test "there is one script, its own, and no attribute that runs or loads anything" do
    page = page({:ok, view()}, ["a@b", "\"><script>"])
    assert [[_, script]] = Regex.scan(~r/<script>(.*?)<\/script>/s, page)
    assert Page.policy() =~ "script-src 'sha256-#{sha256(script)}';"
    assert [[_, style]] = Regex.scan(~r/<style>(.*?)<\/style>/s, page)
    assert Page.policy() =~ "style-src 'sha256-#{sha256(style)}';"
    rest = String.replace(page, [script, style], "")
    refute rest =~ ~r/<[^>]*\s(on\w+|style|src|srcset|action|formaction|http-equiv)\s*=/i
    refute rest =~ ~r/<(link|img|iframe|object|embed|form|base)\b/i
    refute rest =~ "\u202E"
    for [_, address] <- Regex.scan(~r/href="([^"]*)"/, rest), do: assert(address =~ ~r/\A\?/)
  end

  defp sha256(text), do: Base.encode64(:crypto.hash(:sha256, text))

  test "the policy allows nothing from elsewhere" do
    assert "default-src 'none'; " <> rest = Page.policy()
    refute rest =~ ~r/unsafe|http|\*|data:/

    for rule <- ["connect-src 'self'", "base-uri 'none'", "form-action 'none'"],
        do: assert(rest =~ rule)
  end

  test "the numbers of limiters, subsystems and Redis are shown" do
    document = document(page({:ok, view()}))
    assert texts(document, ~c(//td[@data-label="calls/s"])) == ["1,200", "10"]
    assert texts(document, ~c(//td[@data-label="denied/s"])) == ["300", "1"]
    assert texts(document, ~c(//td[@data-label="shed/s"])) == ["2"]
    assert texts(document, ~c(//td[@data-label="at work"])) == ["6 of 7"]
    assert texts(document, ~c(//td[@data-label="stress"])) == ["0.7"]
    assert texts(document, ~c(//td[@data-label="breaker"])) == ["open"]
    assert ["50 %" <> _] = texts(document, ~c(//td[@data-label="scale"]))
    assert texts(document, ~c(//td[@data-label="calls"])) == ["81"]
    assert texts(document, ~c(//td[@data-label="denied"])) == ["17"]
    page = page({:ok, view()})
    assert page =~ "denies 300/s"
    assert page =~ "scale 42 %"
    assert page =~ "7 limiters with fewer denials are not shown"
    assert page =~ "Redis refuses heartbeats"
    assert page =~ "the gate of this node admits 50 %, and sheds 50 %"
    assert page =~ "At most 1,200 calls a second in the last 8 seconds."
  end

  test "links to nodes are there if there are several, and name the one that is shown" do
    refute page({:ok, view()}, ["shop@db1"]) =~ "<nav"
    view = %{view() | node: :shop@db1}
    page = page({:ok, view}, ["shop@db1", "shop@db2"])
    assert page =~ ~s(<a href="?node=shop%40db1" aria-current="page">shop@db1</a>)
    assert page =~ ~s(<a href="?node=shop%40db2">shop@db2</a>)
  end

  test "a problem, a node without instances, and no view at all have a page" do
    assert page({:error, "<i>no reply"}) =~ "&lt;i&gt;no reply"
    assert page({:ok, %{view() | problem: "<i>no reply"}}) =~ "&lt;i&gt;no reply"
    assert page({:ok, %{view() | instances: []}}) =~ "no instance of RateLimiter is running"

    for page <- [page({:error, "gone"}), page({:ok, %{view() | instances: []}})],
        do: assert(texts(document(page), ~c"//main") != [])
  end

  test "each state of an instance has words" do
    for {health, words} <- [
          {{:degraded, {:redis, [%{}]}}, "Redis does not answer"},
          {{:degraded, {:redis, "no server is known yet"}}, "no server is known yet"},
          {{:degraded, {:store, "disk full"}}, "the store does not answer: disk full"},
          {{:degraded, {:full, [:api, :web]}}, "judged together: api, web"},
          {{:degraded, {:evicts, [%{}]}}, "Redis evicts keys"},
          {{:error, :stopping}, "about to stop"},
          {{:degraded, {:checkpoint, "no space left"}}, "checkpoint: no space left"},
          {{:degraded, {:clock, 2_500}}, "the clock was set by 2500 ms"},
          {{:error, :not_running}, "not running"}
        ] do
      %{instances: [instance]} = view = view()
      assert page({:ok, %{view | instances: [%{instance | health: health}]}}) =~ words
    end

    %{instances: [instance]} = view = view()
    well = %{instance | health: :ok, redis: nil, limiters: [], subsystems: []}
    refute page({:ok, %{view | instances: [well]}}) =~ ~s(class="notes")
  end

  test "the frame has the style that the policy allows" do
    assert page({:error, "x"}) =~ "<style>#{Html.style("")}"
  end
end
