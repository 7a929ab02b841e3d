defmodule RateLimiter.Dashboard.RemoteTest do
  # The dashboard of one node in another: real nodes, which take seconds to boot.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Support.Nodes
  alias RateLimiter.Support.Nodes.Guest
  alias RateLimiter.Support.Web

  @moduletag :slow

  @shop :"shop_#{System.pid()}@127.0.0.1"
  @other :"other_#{System.pid()}@127.0.0.1"
  @cookie "secret#{System.unique_integer([:positive])}"

  # Returns the shop with its limiter, and another node.
  defp start!(other) do
    [shop, other] = Nodes.start_named!([@shop, other], @cookie)
    windows = [w: [limit: 2, per: :day]]
    Nodes.call(shop, Guest, :serve_alone, [[limiters: [only_in_shop: [windows: windows]]]])
    for _ <- 1..3, do: Nodes.call(shop, RateLimiter, :check_and_track, [:only_in_shop, 1])
    {shop, other}
  end

  test "mix rate_limiter.dashboard --node serves the page of a running node" do
    {shop, other} = start!(nil)
    argv = ["--node", "#{@shop}", "--cookie", @cookie, "--port", "0"]
    url = Nodes.call(other, Guest, :first_line, [Mix.Tasks.RateLimiter.Dashboard, argv])
    assert {200, _headers, page} = Web.get!(url)
    assert page =~ "#{@shop}"
    assert page =~ "only_in_shop"
    # It has joined as a hidden node, which the application does not see.
    assert Nodes.call(shop, Node, :list, []) == []
    assert [_other] = Nodes.call(shop, Node, :list, [:hidden])

    # The last picture stays, with what is wrong.
    Nodes.kill(shop)
    eventually(fn -> elem(Web.get!(url), 2) =~ "no reply from #{@shop}" end)
    assert {200, _headers, page} = Web.get!(url)
    assert page =~ "only_in_shop"
  end

  test "?node= shows a node that is connected, and no other" do
    {shop, other} = start!(@other)
    url = "http://127.0.0.1:#{Nodes.call(other, Guest, :dashboard, [])}"
    assert {404, _headers, "this node is not connected\n"} = Web.get!("#{url}/?node=#{@shop}")
    assert Nodes.call(other, Node, :connect, [@shop])

    # Each page has a link to the other node.
    assert {200, _headers, own} = Web.get!(url)
    refute own =~ "only_in_shop"

    assert [_, link] =
             Regex.run(
               ~r/href="([^"]*node=#{Regex.escape(URI.encode_www_form("#{@shop}"))}[^"]*)"/,
               own
             )

    assert {200, _headers, page} = Web.get!(url <> "/" <> link)
    assert page =~ "only_in_shop"

    assert {200, %{"content-type" => "application/json"}, json} =
             Web.get!("#{url}/?node=#{@shop}&format=json")

    assert json =~ ~s("node": "#{@shop}")
    Nodes.kill(shop)
    eventually(fn -> Nodes.call(other, Node, :list, []) == [] end)
    assert {404, _headers, _words} = Web.get!("#{url}/?node=#{@shop}")
  end
end
