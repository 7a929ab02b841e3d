defmodule RateLimiter.Dashboard.ResponseTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.{Json, Viewed}

  alias RateLimiter.Dashboard.Response

  defp respond(method, path, query) do
    view = fn
      nil -> {:ok, view()}
      "gone" -> {:error, "no reply"}
      "other" -> {:ok, %{view() | node: :other}}
      _unknown -> :unknown
    end

    {status, headers, body} = Response.to(method, path, query, {view, ["a", "other"]})
    {status, Map.new(headers), IO.iodata_to_binary(body)}
  end

  test "every response is typed as it is, under the policy, and not stored" do
    for {method, path, query} <- [
          {"GET", [], ""},
          {"GET", [], "format=json"},
          {"GET", ["x"], ""},
          {"POST", [], ""}
        ] do
      {_status, headers, _body} = respond(method, path, query)
      assert headers["content-security-policy"] =~ "default-src 'none'"
      assert headers["x-content-type-options"] == "nosniff"
      assert headers["cache-control"] == "no-store"
      assert headers["content-type"] =~ ~r/\A(text|application)\//
    end
  end

  test "the page is HTML, and JSON if the query asks for it" do
    assert {200, %{"content-type" => "text/html; charset=utf-8"}, "<!DOCTYPE html>" <> _} =
             respond("GET", [], "")

    assert {200, %{"content-type" => "application/json"}, body} =
             respond("GET", [], "format=json")

    assert %{"instances" => [_]} = decode!(body)
    assert {200, _headers, _body} = respond("HEAD", [], "")
  end

  test "a node is chosen by the query" do
    assert {200, _, body} = respond("GET", [], "node=other&format=json")
    assert %{"node" => "other"} = decode!(body)
    assert {502, _, body} = respond("GET", [], "node=gone")
    assert body =~ "no reply"
    assert {404, _, "this node is not connected\n"} = respond("GET", [], "node=%3Cscript%3E")
  end

  test "nothing but reading is possible" do
    for method <- ~w(POST PUT PATCH DELETE OPTIONS TRACE get) do
      assert {405, %{"allow" => "GET, HEAD"}, _body} = respond(method, [], "")
    end
  end

  test "below the page there is nothing" do
    assert {404, _headers, "not found\n"} = respond("GET", ["..", "etc"], "")
  end

  test "a query that is none selects nothing" do
    for query <- ["%", "%zz=1", "node", "=", "&&", "format=%FF", String.duplicate("a&", 10_000)] do
      assert {status, _headers, _body} = respond("GET", [], query)
      assert status in [200, 404]
    end
  end
end
