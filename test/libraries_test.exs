defmodule RateLimiter.LibrariesTest do
  # What stand-ins cannot show, with the real libraries on the code path: see CONTRIBUTING.md.
  use ExUnit.Case

  alias RateLimiter.Support.Documents.Session
  alias RateLimiter.Support.{StructuredFields, Web}

  @moduletag :libraries

  @libraries [
    Plug.Router,
    Bandit,
    Phoenix.Endpoint,
    Phoenix.LiveViewTest,
    Req.Steps,
    Absinthe.Schema,
    Oban.Engines.Lite,
    Ecto.Adapters.SQLite3,
    :otel_meter_server
  ]

  test "the libraries are on the code path, so all tests of this run use them" do
    for module <- @libraries,
        do:
          assert(
            {:module, _} = Code.ensure_loaded(module),
            "set ERL_LIBS, #{inspect(module)} is missing"
          )
  end

  test "Bandit serves the plug, and no client chooses its address or its network" do
    start_supervised!(
      {RateLimiter, name: :bandit, limiters: [bandit: [windows: [w: [limit: 3, per: :day]]]]}
    )

    plug = fn conn, _options ->
      options = RateLimiter.Plug.init(limiter: :bandit, charge: {:response, &(&1.status != 304)})
      conn = RateLimiter.Plug.call(conn, options)
      status = if conn.request_path == "/same", do: 304, else: 200
      if conn.halted, do: conn, else: Plug.Conn.send_resp(conn, status, "")
    end

    for app <- [:plug_crypto, :mime, :plug, :hpax, :thousand_island, :websock, :bandit],
        do: {:ok, _} = apply(Application, :ensure_all_started, [app])

    server = start_supervised!({Bandit, plug: plug, port: 0, ip: :loopback, startup_log: false})
    {:ok, {_address, port}} = apply(ThousandIsland, :listener_info, [server])
    url = "http://127.0.0.1:#{port}"

    for _ <- 1..5, do: assert({304, %{}, ""} = Web.get!(url <> "/same"))

    statuses =
      for n <- 1..8 do
        {status, headers, _body} = Web.get!(url, [{"x-forwarded-for", "203.0.113.#{n}"}])
        assert [{"w", %{"r" => r}}] = StructuredFields.list!(headers["ratelimit"])
        assert r == max(3 - n, 0)
        status
      end

    assert statuses == [200, 200, 200, 429, 429, 429, 429, 429]
  end

  test "each retry and each redirect of Req is charged, and a pause holds for them" do
    RateLimiter.Test.start(limiters: [retried: [windows: [w: [limit: 10, per: :day]]]])
    attempts = :counters.new(1, [])

    adapter = fn request ->
      :counters.add(attempts, 1, 1)

      case :counters.get(attempts, 1) do
        1 -> {request, Req.Response.new(status: 500)}
        2 -> {request, Req.Response.new(status: 302, headers: [{"location", "/new"}])}
        3 -> {request, Req.Response.new(status: 429, headers: [{"retry-after", "60"}])}
      end
    end

    options = [adapter: adapter, max_retries: 1, retry_delay: 0, retry_log_level: false]

    request =
      Req.new([url: "http://retried.example.com/old"] ++ options)
      |> RateLimiter.Req.attach(limiter: :retried, timeout: 100)

    assert {:ok, %{status: 429}} = Req.request(request)
    result = Req.request(request)
    assert {:error, %RateLimiter.Req.TimeoutError{retry_after_ms: ms}} = result
    assert ms in 50_000..60_000
    assert :counters.get(attempts, 1) == 3
    assert {:ok, %{current: 3}} = RateLimiter.get_usage(:retried, "retried.example.com")
  end

  test "Absinthe charges the complexity that it computes" do
    # The guide's phase, which the test of the guides may have defined.
    unless Code.ensure_loaded?(MyAppWeb.ChargeComplexity), do: Session.define("guides/http.md")

    Code.eval_string("""
    defmodule RateLimiter.LibrariesTest.Schema do
      use Absinthe.Schema

      query do
        field :items, list_of(:integer) do
          arg :first, :integer
          complexity fn %{first: first}, _child -> first end
          resolve fn %{first: first}, _ -> {:ok, Enum.to_list(1..first)} end
        end
      end
    end
    """)

    RateLimiter.Test.start(limiters: [graphql: [windows: [w: [limit: 10, per: :minute]]]])
    schema = RateLimiter.LibrariesTest.Schema
    options = [context: %{user_id: 7}, analyze_complexity: true]

    pipeline = apply(Absinthe.Pipeline, :for_document, [schema, options])
    pipeline = apply(MyAppWeb.ChargeComplexity, :insert, [pipeline])

    run = fn first ->
      query = "{ items(first: #{first}) }"
      {:ok, %{result: result}, _phases} = apply(Absinthe.Pipeline, :run, [query, pipeline])
      result
    end

    assert %{data: %{"items" => [1, 2, 3, 4, 5, 6, 7]}} = run.(7)
    assert %{errors: [%{message: "Too many points", remaining: 3}]} = run.(4)
    assert %{data: %{"items" => [1, 2, 3]}} = run.(3)
  end
end
