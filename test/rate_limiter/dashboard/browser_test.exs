defmodule RateLimiter.Dashboard.BrowserTest do
  # Not async: the page shows the whole node. Needs Chromium: `mix test --include browser`.
  use ExUnit.Case, async: false

  import RateLimiter.Support.{Eventually, Viewed}

  alias RateLimiter.{Dashboard, VSM}
  alias RateLimiter.Dashboard.{History, Server}
  alias RateLimiter.Support.Browser

  @moduletag :browser
  @moduletag :tmp_dir

  setup %{tmp_dir: directory} do
    %{browser: Browser.start!(Path.join(directory, "profile"))}
  end

  defp serve(source) do
    server = start_supervised!({Server, {0, {source, fn -> ["a@b", "\"><script>"] end}}})
    "http://localhost:#{Server.port(server)}/"
  end

  defp text(browser, selector),
    do: Browser.evaluate(browser, "document.querySelector(#{inspect(selector)})?.innerText")

  # Of the pictures that a test with this variable leaves, people can judge what no assertion can.
  defp picture(browser, name) do
    if directory = System.get_env("DASHBOARD_PICTURES"),
      do: Browser.screenshot(browser, Path.join(directory, name))
  end

  test "the page follows the node, in place, and asks no other host", %{browser: browser} do
    RateLimiter.Support.Shown.start()
    server = start_supervised!({Dashboard, port: 0})
    address = "http://localhost:#{Dashboard.port(server)}/"
    :ok = Browser.open(browser, address, {1280, 900}, :light)
    assert text(browser, "#state") == "live"
    eventually(fn -> text(browser, "h2 code") == ":top_shown" end)

    # The same element, and the selection in it, survive the changes.
    Browser.evaluate(browser, """
    window.kept = document.querySelector("h2 code"); getSelection().selectAllChildren(kept); true
    """)

    eventually(fn ->
      for _ <- 1..100, do: RateLimiter.check_and_track(:top_shown, "a", :burst)
      VSM.check_subsystem_limit(:work, "a", instance: :top_shown)
      text(browser, ".tile b.bad") not in [nil, "0", "-"]
    end)

    eventually(fn ->
      Browser.evaluate(browser, "document.querySelectorAll('polygon').length") > 2
    end)

    assert Browser.evaluate(
             browser,
             "kept.isConnected && getSelection().toString() == kept.innerText"
           )

    eventually(fn -> length(Browser.heard(browser).requests) > 2 end)
    assert %{complaints: [], requests: requests} = Browser.heard(browser)
    assert Enum.uniq(requests) == [address]
  end

  test "hostile names are text, and run nothing", %{browser: browser} do
    address = serve(fn _node -> {:ok, view()} end)
    :ok = Browser.open(browser, address, {1280, 900}, :light)
    assert text(browser, "tbody th code") == "<script>hacked=1</script>\"'&\\u{202E}"
    # Twice, since a script also writes the page.
    eventually(fn -> length(Browser.heard(browser).requests) > 2 end)
    assert Browser.evaluate(browser, "typeof hacked") == "undefined"
    assert Browser.evaluate(browser, "document.querySelectorAll('script').length") == 1
    assert %{complaints: []} = Browser.heard(browser)
  end

  test "the policy stops a script that is not the page's", %{browser: browser} do
    address = serve(fn _node -> {:ok, view()} end)
    :ok = Browser.open(browser, address, {1280, 900}, :light)

    Browser.evaluate(browser, """
    const script = document.createElement("script"); script.textContent = "hacked = 1";
    document.body.append(script); document.body.setAttribute("style", "color: red"); true
    """)

    assert Browser.evaluate(browser, "typeof hacked") == "undefined"
    eventually(fn -> length(Browser.heard(browser).complaints) >= 2 end)
  end

  test "a phone and a desk show all of it without scrolling sideways, light and dark", %{
    browser: browser
  } do
    address = serve(fn _node -> {:ok, view()} end)

    backgrounds =
      for width <- [400, 1280], scheme <- [:light, :dark] do
        :ok = Browser.open(browser, address, {width, 900}, scheme)
        assert Browser.evaluate(browser, "document.documentElement.scrollWidth <= innerWidth")

        # Nothing leaves the panel that it is in.
        assert [] ==
                 Browser.evaluate(browser, """
                 [...document.querySelectorAll("main .panel *")].filter((element) =>
                   element.getBoundingClientRect().right > element.closest(".panel").getBoundingClientRect().right
                 ).map((element) => element.outerHTML)
                 """)

        picture(browser, "#{width}-#{scheme}.png")
        Browser.evaluate(browser, "getComputedStyle(document.body).backgroundColor")
      end

    assert [light, dark, light, dark] = backgrounds
    assert light != dark
  end

  test "a page without replies says that it is old, and is live again later", %{browser: browser} do
    address = serve(fn _node -> {:ok, view()} end)
    :ok = Browser.open(browser, address, {400, 900}, :light)
    eventually(fn -> text(browser, "#state") == "live" end)
    stop_supervised!(Server)
    eventually(fn -> text(browser, "#state") =~ "no reply, this page is old" end)
    assert text(browser, "tbody th code") != nil
    picture(browser, "old.png")

    %{port: port} = URI.parse(address)
    start_supervised!({Server, {port, {fn _node -> {:error, "<b>gone"} end, fn -> [] end}}})
    eventually(fn -> text(browser, "main") =~ "<b>gone" end)
    assert text(browser, "#state") == "live"
  end

  test "the history is drawn as it grows", %{browser: browser} do
    RateLimiter.Support.Shown.start()
    history = start_supervised!({History, interval_ms: 50})
    address = serve(fn _node -> History.view(history) end)
    :ok = Browser.open(browser, address, {1280, 900}, :dark)

    eventually(fn ->
      for _ <- 1..:rand.uniform(99), do: RateLimiter.check_and_track(:top_shown, "a", [:slow])
      points = "document.querySelector('polygon')?.points.length"
      (Browser.evaluate(browser, points) || 0) > 30
    end)

    picture(browser, "history.png")
  end
end
