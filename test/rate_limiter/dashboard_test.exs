defmodule RateLimiter.DashboardTest do
  # Not async: the page shows the whole node.
  use ExUnit.Case, async: false

  import RateLimiter.Support.Eventually
  import RateLimiter.Support.Json, only: [decode!: 1]
  import RateLimiter.Support.Web

  alias RateLimiter.Dashboard

  setup do: RateLimiter.Support.Shown.start()

  doctest Dashboard

  defp get(port, target) do
    request = {~c"http://127.0.0.1:#{port}#{target}", []}

    {:ok, {{_, status, _}, _headers, body}} =
      :httpc.request(:get, request, [], body_format: :binary)

    {status, body}
  end

  test "a child of a supervisor serves this node on the loopback interface" do
    server = start_supervised!({Dashboard, port: 0})
    port = Dashboard.port(server)
    for _ <- 1..5, do: RateLimiter.check_and_track(:top_shown, "a", :burst)

    # The last reading may be two seconds old.
    page =
      eventually(fn -> with {200, page} <- get(port, "/"), do: page =~ ":top_shown" && page end)

    assert page =~ ~s(<h2><code>:top_shown</code>)

    limiter =
      eventually(fn ->
        {200, json} = get(port, "/?format=json")
        [%{"name" => ":top_shown"} = shown] = decode!(json)["instances"]
        assert [%{"name" => "work"}, %{"name" => "dry"}] = shown["subsystems"]
        Enum.find(shown["limiters"], &(&1["checks"] == 5))
      end)

    assert %{"name" => "top_shown", "denials" => 2} = limiter
    assert {:error, _refused} = :gen_tcp.connect(other_address(), port, [], 1_000)
  end

  # Of this machine, but not the loopback interface's.
  defp other_address do
    {:ok, interfaces} = :inet.getifaddrs()
    addresses = for {_name, options} <- interfaces, {:addr, address} <- options, do: address
    Enum.find(addresses, {127, 0, 0, 2}, &(tuple_size(&1) == 4 and elem(&1, 0) != 127))
  end

  test "a port that is in use is an error" do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    Process.flag(:trap_exit, true)
    assert Dashboard.start_link(port: port) == {:error, :eaddrinuse}
  end

  test "an invalid option is reported with what was expected" do
    assert_raise ArgumentError, ~r/\Aport: /, fn -> Dashboard.start_link(port: 65_536) end
    assert_raise ArgumentError, ~r/port/, fn -> Dashboard.start_link([]) end
    assert_raise ArgumentError, ~r/path/, fn -> Dashboard.start_link(port: 0, path: "/") end
  end

  describe "as a plug" do
    # With the stand-in of test/support/plug, or with the real Plug. A router gives `path_info` without its own part.
    defp forwarded(fields) do
      fields |> conn() |> Dashboard.call(Dashboard.init([]))
    end

    test "sends the page, under its policy and not that of the router" do
      conn =
        []
        |> conn()
        |> Plug.Conn.put_resp_header("content-security-policy", "frame-src *")
        |> Dashboard.call(Dashboard.init([]))

      assert {conn.state, conn.status} == {:sent, 200}
      assert header(conn, "content-type") == "text/html; charset=utf-8"
      assert header(conn, "content-security-policy") =~ "default-src 'none'"
      assert header(conn, "cache-control") == "no-store"
      assert IO.iodata_to_binary(conn.resp_body) =~ "<main>"
    end

    test "sends JSON if the query asks for it, and refuses what does not read" do
      assert %{"node" => _} = decode!(forwarded(query_string: "format=json").resp_body)
      assert forwarded(method: "POST").status == 405
      assert forwarded(path_info: ["x"]).status == 404
      assert forwarded(query_string: "node=unknown").status == 404
    end

    test "has no options" do
      assert_raise FunctionClauseError, fn -> apply(Dashboard, :init, [[node: :shop@db1]]) end
    end
  end
end
