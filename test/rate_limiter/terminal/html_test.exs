defmodule RateLimiter.Terminal.HtmlTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Terminal.Html

  doctest Html

  test "escaped text has no character of markup, and decodes to itself" do
    :rand.seed(:exsss, 3)

    for _ <- 1..300 do
      text =
        for _ <- 1..:rand.uniform(20), into: "", do: Enum.random(~w(& < > " ' a ü ; amp &lt;))

      escaped = Html.escape(text)
      refute escaped =~ ~r/[<>"']/
      assert decode(escaped) == text
    end
  end

  test "a page escapes its title, and asks nothing of the network" do
    page = "</title><script>" |> Html.page("/* own */", "<p>body</p>") |> IO.iodata_to_binary()
    assert page =~ "<title>&lt;/title&gt;&lt;script&gt;</title>"
    assert page =~ "/* own */</style>"
    assert page =~ "<p>body</p></body>"
    refute page =~ ~r/<script|<link|<img|src=|url\(|@import|https?:/
  end

  # The ampersand last, so that "&amp;lt;" is not decoded twice.
  defp decode(text) do
    for {entity, char} <- [
          {"&lt;", "<"},
          {"&gt;", ">"},
          {"&quot;", "\""},
          {"&#39;", "'"},
          {"&amp;", "&"}
        ],
        reduce: text,
        do: (text -> String.replace(text, entity, char))
  end
end
