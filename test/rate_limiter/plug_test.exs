defmodule RateLimiter.PlugTest do
  # With the stand-in of test/support/plug, or with the real Plug.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Web

  alias RateLimiter.Support.StructuredFields

  setup do
    RateLimiter.Test.start(
      limiters: [
        web: [windows: [burst: [limit: 3, per: :second], hour: [limit: 100, per: :hour]]],
        login: [windows: [attempts: [limit: 2, per: :hour]]]
      ]
    )
  end

  # Requests of one client, each answered by this status.
  defp request(options, fields \\ [], status \\ 200) do
    conn = fields |> conn() |> RateLimiter.Plug.call(RateLimiter.Plug.init(options))
    if conn.halted, do: conn, else: Plug.Conn.send_resp(conn, status, "page")
  end

  defp statuses(count, options, fields \\ [], status \\ 200),
    do: for(_ <- 1..count, do: request(options, fields, status).status)

  defp left(limiter, id, window) do
    {:ok, usage} = RateLimiter.get_usage(limiter, id, window)
    usage.remaining
  end

  describe "a request" do
    test "is admitted with the fields of every window, until one denies it" do
      conn = request(limiter: :web)
      assert {conn.status, conn.resp_body, conn.halted} == {200, "page", false}

      assert StructuredFields.list!(header(conn, "ratelimit")) |> Enum.map(&elem(&1, 0)) == [
               "burst",
               "hour"
             ]

      assert header(conn, "retry-after") == nil

      assert statuses(3, limiter: :web) == [200, 200, 429]
      conn = request(limiter: :web)
      assert {conn.status, conn.halted, conn.state} == {429, true, :sent}
      assert header(conn, "retry-after") == "1"
      assert header(conn, "content-type") == "application/problem+json"
      assert conn.resp_body =~ ~s("violated-policies":["burst"])

      RateLimiter.Test.advance(:second)
      assert request(limiter: :web).status == 200
    end

    test "is decided under the plan that the option or a function names" do
      RateLimiter.put_plan(:login, :pro, attempts: [limit: 3])

      assert statuses(4, limiter: :login, plan: :pro, id: fn _conn -> "pro" end) == [
               200,
               200,
               200,
               429
             ]

      conn = request(limiter: :login, plan: fn _conn -> :pro end, id: fn _conn -> "new" end)
      assert header(conn, "ratelimit-policy") == ~s("attempts";q=3;w=3600)
      conn = request(limiter: :login, plan: fn _conn -> nil end, id: fn _conn -> "new" end)
      assert header(conn, "ratelimit-policy") == ~s("attempts";q=2;w=3600)
    end

    test "is charged to the windows, with the cost, of the id that options or functions name" do
      options = [
        limiter: :web,
        windows: fn conn -> conn.assigns.windows end,
        id: fn conn -> conn.assigns.user end,
        cost: fn conn -> conn.assigns.cost end
      ]

      assert request(options, assigns: %{windows: :hour, user: "ann", cost: 40}).status == 200
      assert left(:web, "ann", :hour) == 60
      assert left(:web, "ann", :burst) == 3
      assert request(options, assigns: %{windows: [:hour], user: "ann", cost: 61}).status == 429

      assert request(limiter: :web, windows: :burst, cost: 2).status == 200
      assert left(:web, {127, 0, 0, 1}, :burst) == 1
    end

    test "without an id is that of the client's address" do
      options = [limiter: :login, id: fn conn -> conn.assigns[:user] end]
      assert statuses(3, options, remote_ip: {203, 0, 113, 7}) == [200, 200, 429]
      assert request(options, remote_ip: {203, 0, 113, 7}, assigns: %{user: "ann"}).status == 200
    end

    test "behind a trusted proxy is that of the client that the proxy reports" do
      options = [limiter: :login, trust: ["10.0.0.0/8"]]
      from = &[remote_ip: &1, req_headers: [{"x-forwarded-for", &2}]]
      assert statuses(3, options, from.({10, 0, 0, 1}, "203.0.113.7")) == [200, 200, 429]
      assert request(options, from.({10, 0, 0, 1}, "203.0.113.8")).status == 200
      # Others cannot choose their address, and one IPv6 network is one client.
      assert for(n <- 1..3, do: request(options, from.({192, 0, 2, 1}, "203.0.113.#{n}")).status) ==
               [200, 200, 429]

      v6 = &{0x2001, 0xDB8, 0, 7, 0, 0, 0, &1}
      assert for(n <- 1..3, do: request(options, remote_ip: v6.(n)).status) == [200, 200, 429]
    end

    test "that is skipped has neither a charge nor fields" do
      options = [limiter: :login, skip: fn conn -> conn.request_path == "/health" end]
      conn = request(options, request_path: "/health")
      assert {conn.status, header(conn, "ratelimit")} == {200, nil}
      assert left(:login, {127, 0, 0, 1}, :attempts) == 2
    end

    test "has the format of fields that was chosen" do
      conn = request(limiter: :login, format: {:x_rate_limit, :delta})
      assert header(conn, "x-ratelimit-remaining") == "1"
      assert header(conn, "ratelimit") == nil
    end
  end

  describe "shadow" do
    test "admits each request without fields, while the limiter denies and counts" do
      options = [limiter: :login, shadow: true, on_deny: fn _conn, _answer -> raise "denied" end]
      assert statuses(4, options) == [200, 200, 200, 200]
      assert header(request(options), "ratelimit") == nil
      assert header(request(options), "retry-after") == nil
      assert %{allowed: 2, denied: 4} = RateLimiter.stats().limiters.login.windows.attempts
      assert request(limiter: :login).status == 429
    end

    test "gives back what the response shows not to count" do
      options = [limiter: :login, shadow: true, charge: {:response, &(&1.status == 401)}]
      assert statuses(3, options) == [200, 200, 200]
      assert %{allowed: 3, denied: 0} = RateLimiter.stats().limiters.login.windows.attempts
    end
  end

  describe "on_deny and on_unavailable" do
    test "decide what a denied request gets" do
      slow_down = fn conn, {:error, :rate_limited, usage} ->
        conn |> Plug.Conn.send_resp(420, "wait #{usage.retry_after_ms}") |> Plug.Conn.halt()
      end

      options = [limiter: :login, on_deny: slow_down]
      assert statuses(3, options) == [200, 200, 420]
      assert request(options).resp_body == "wait 1800000"
      assert header(request(options), "retry-after") == "1800"

      # Without a halt, the request continues.
      assert request(limiter: :login, on_deny: fn conn, _ -> conn end).status == 200
    end

    test "distinguish an outage from a quota" do
      start_supervised!(
        {RateLimiter,
         name: :plug_without_redis,
         log: false,
         store: {:redis, url: "redis://127.0.0.1:1", nodes: 1},
         limiters: [plug_away: [windows: [w: [limit: 1, per: :minute]], on_outage: :deny]]}
      )

      conn = request(limiter: :plug_away)
      assert {conn.status, header(conn, "retry-after")} == {503, "1"}
      assert conn.resp_body =~ "temporary-reduced-capacity"

      shown = fn conn, {:error, reason, _} ->
        Plug.Conn.halt(Plug.Conn.send_resp(conn, 500, "#{reason}"))
      end

      assert request(limiter: :plug_away, on_deny: shown).resp_body == "unavailable"
      assert request(limiter: :plug_away, on_unavailable: shown).resp_body == "unavailable"

      conn = request(limiter: :plug_away, on_unavailable: :allow)
      assert {conn.status, header(conn, "retry-after")} == {200, nil}
    end
  end

  describe "charge by response" do
    test "counts only what the function keeps, and the fields say so" do
      options = [limiter: :login, charge: {:response, &(&1.status == 401)}]
      for _ <- 1..5, do: assert(header(request(options), "ratelimit") =~ "r=2")
      assert header(request(options, [], 401), "ratelimit") =~ "r=1"
      assert statuses(3, options, [], 401) == [401, 429, 429]
    end

    test "keeps a part of the cost" do
      options = [limiter: :web, windows: :hour, cost: 10, charge: {:response, fn _conn -> 4 end}]
      assert request(options).status == 200
      assert left(:web, {127, 0, 0, 1}, :hour) == 96

      for wrong <- [11, -1, nil] do
        options = Keyword.put(options, :charge, {:response, fn _conn -> wrong end})

        assert_raise ArgumentError, ~r/charge.response: expected true, false/, fn ->
          request(options)
        end
      end
    end

    test "lets simultaneous requests never exceed the limit, whatever they give back" do
      options = RateLimiter.Plug.init(limiter: :login, charge: {:response, fn _conn -> false end})
      admitted = for _ <- 1..3, do: RateLimiter.Plug.call(conn(), options)
      assert Enum.map(admitted, & &1.halted) == [false, false, true]
      Plug.Conn.send_resp(hd(admitted), 200, "")
      refute RateLimiter.Plug.call(conn(), options).halted
    end
  end

  describe "init/1" do
    test "refuses what no request could use" do
      for {options, message} <- [
            {[], "limiter: is required, expected an atom"},
            {[limiter: "web"], "limiter: expected an atom"},
            {[limiter: :web, window: :burst], "unknown option :window, did you mean :windows?"},
            {[limiter: :web, id: :ip], "id: expected a function of the connection"},
            {[limiter: :web, cost: "1"], "cost: expected an integer or a function"},
            {[limiter: :web, charge: :response], "charge: expected :request or {:response"},
            {[limiter: :web, on_deny: &hd/1], "on_deny: expected a function"},
            {[limiter: :web, on_unavailable: :deny], "on_unavailable: expected :allow or"},
            {[limiter: :web, format: :draft_7], "format: expected one of"},
            {[limiter: :web, trust: "10.0.0.0/8"], "trust: expected a list"},
            {[limiter: :web, skip: fn -> true end], "skip: expected a function"}
          ] do
        error = assert_raise ArgumentError, fn -> RateLimiter.Plug.init(options) end
        assert Exception.message(error) =~ message
      end
    end

    test "returns what a router can compile" do
      options = RateLimiter.Plug.init(limiter: :web, skip: &Kernel.is_map/1, trust: [:private])
      assert {^options, []} = options |> Macro.escape() |> Code.eval_quoted()
    end
  end

  test "over HTTP, each response has its fields, and 429s come when the limit says so" do
    start_supervised!(
      {RateLimiter,
       name: :over_http, limiters: [over_http: [windows: [w: [limit: 5, per: :day]]]]}
    )

    options = RateLimiter.Plug.init(limiter: :over_http, trust: [:private])

    url =
      start!(fn conn ->
        conn = RateLimiter.Plug.call(conn, options)
        if conn.halted, do: conn, else: Plug.Conn.send_resp(conn, 200, "page")
      end)

    from = [{"x-forwarded-for", "203.0.113.7"}]
    responses = for _ <- 1..7, do: get!(url, from)
    assert Enum.map(responses, &elem(&1, 0)) == [200, 200, 200, 200, 200, 429, 429]

    for {{status, headers, body}, n} <- Enum.with_index(responses, 1) do
      assert [{"w", %{"q" => 5, "w" => 86_400}}] =
               StructuredFields.list!(headers["ratelimit-policy"])

      assert [{"w", %{"r" => r, "t" => t}}] = StructuredFields.list!(headers["ratelimit"])
      assert r == max(5 - n, 0)
      assert status == 200 or headers["retry-after"] == Integer.to_string(t)
      assert status == 200 or body =~ "quota-exceeded"
    end

    assert {200, _headers, "page"} = get!(url, [{"x-forwarded-for", "203.0.113.8"}])
  end
end
