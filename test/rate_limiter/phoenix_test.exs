defmodule RateLimiter.PhoenixTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Web

  setup do
    RateLimiter.Test.start(limiters: [login: [windows: [attempts: [limit: 5, per: :hour]]]])
  end

  doctest RateLimiter.Phoenix

  defp info(peer, headers \\ []),
    do: %{peer_data: %{address: peer, port: 1, ssl_cert: nil}, x_headers: headers}

  defp connect(info, options \\ []),
    do: RateLimiter.Phoenix.connect(info, [limiter: :login] ++ options)

  describe "connect/2" do
    test "admits a client by its address until it is denied, as the plug answers it" do
      for _ <- 1..5, do: assert({:ok, _} = connect(info({203, 0, 113, 7})))
      assert {:error, denied} = connect(info({203, 0, 113, 7}))
      conn = RateLimiter.Phoenix.refuse(Web.conn(), denied)
      assert {conn.status, conn.halted} == {429, true}
      assert {:ok, _} = connect(info({203, 0, 113, 8}))
    end

    test "believes trusted proxies only" do
      headers = [{"x-forwarded-for", "203.0.113.7"}]
      {:ok, usage} = connect(info({10, 0, 0, 1}, headers), trust: [:private], cost: 2)
      assert usage.remaining == 3
      assert {:ok, %{remaining: 3}} = RateLimiter.get_usage(:login, {203, 0, 113, 7}, :attempts)
      {:ok, _} = connect(info({192, 0, 2, 1}, headers), trust: [:private])
      assert {:ok, %{remaining: 4}} = RateLimiter.get_usage(:login, {192, 0, 2, 1}, :attempts)
    end

    test "refuses an endpoint that does not hand over the peer, and unknown options" do
      assert_raise ArgumentError, ~r/connect_info: expected a map with :peer_data/, fn ->
        connect(%{})
      end

      assert_raise ArgumentError, ~r/unknown option/, fn ->
        connect(info({127, 0, 0, 1}), window: :w)
      end
    end
  end

  describe "refuse/2" do
    test "answers a denied client as the plug does, fields included" do
      {:ok, _} = connect(info({203, 0, 113, 7}), cost: 5)
      {:error, denied} = connect(info({203, 0, 113, 7}))
      conn = RateLimiter.Phoenix.refuse(Web.conn(), denied)
      assert {conn.status, conn.halted} == {429, true}
      assert Web.header(conn, "retry-after") == "720"
      assert Web.header(conn, "ratelimit") =~ ~s("attempts";r=0)
      assert Web.header(conn, "content-type") =~ "application/problem+json"
    end

    test "answers any other reason of connect/3 with 403" do
      conn = RateLimiter.Phoenix.refuse(Web.conn(), :invalid)
      assert {conn.status, conn.halted, conn.resp_body} == {403, true, ""}
    end
  end

  test "error/1 has the reason and the wait" do
    {:ok, _} = RateLimiter.check_and_track(:login, 1, cost: 5)
    denied = RateLimiter.check_and_track(:login, 1)

    assert RateLimiter.Phoenix.error(denied) ==
             {:error, %{reason: :rate_limited, retry_after_ms: 720_000}}
  end
end
