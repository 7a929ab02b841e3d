defmodule Plug.Conn do
  # The part of Plug that the README's plug calls: this project does not depend on Plug.
  defstruct remote_ip: {127, 0, 0, 1},
            req_headers: [],
            headers: %{},
            status: nil,
            body: nil,
            halted: false

  def merge_resp_headers(conn, headers), do: %{conn | headers: Enum.into(headers, conn.headers)}

  def put_resp_content_type(conn, type), do: put_resp_header(conn, "content-type", type)
  def put_resp_header(conn, name, value), do: put_in(conn.headers[name], value)
  def send_resp(conn, status, body), do: %{conn | status: status, body: IO.iodata_to_binary(body)}
  def halt(conn), do: %{conn | halted: true}
end

defmodule RateLimiter.ReadmeTest.Router do
  def plug(module, options), do: module.init(options)
end

RateLimiter.Support.Documents.Session.define("README.md")

defmodule RateLimiter.ReadmeTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Documents
  alias RateLimiter.Support.Documents.Session

  @readme "README.md"

  # The limiters that the README starts, under a clock that moves only between the lines that are typed.
  defp start(options) do
    RateLimiter.Instance.Config.new!(options)
    own = Keyword.take(options, [:limiters, :vsm])
    if options[:store] == nil and options[:name] == nil, do: start_once(own)
  end

  defp start_once(options) do
    RateLimiter.Test.start(options)
  rescue
    # A later snippet shows the same limiter with other options.
    error in ArgumentError -> assert Exception.message(error) =~ "a limiter of this name"
  end

  test "every snippet runs, in order, however slowly it is typed" do
    Application.put_env(:my_app, :api_limit, 60)
    prelude = "import RateLimiter.ReadmeTest.Router"

    Session.run(@readme,
      binding: [user: %{id: 7}],
      prelude: prelude,
      child: &start/1,
      pause: fn -> RateLimiter.Test.advance(3_000) end
    )
  end

  test "names the version, the repository and the Rust of this project" do
    project = Mix.Project.config()
    readme = Documents.read(@readme)

    if url = project[:source_url], do: assert(readme =~ ~s(git: "#{url}"))
    assert readme =~ ~s(tag: "v#{project[:version]}")

    [_, rust] = Regex.run(~r/^rust-version = "(.*)"$/m, Documents.read("Cargo.toml"))
    assert readme =~ "needs Rust #{rust} or newer"
    assert readme =~ "Cargo (Rust #{rust} or newer"
    assert readme =~ "--default-toolchain #{rust}.0"
  end

  describe "the plug" do
    setup do
      RateLimiter.Test.start(limiters: [api: [windows: [minute: [limit: 60, per: :minute]]]])
    end

    test "admits what the limit allows, then answers 429 with whole seconds to wait" do
      conn = %Plug.Conn{remote_ip: {203, 0, 113, 7}}
      for _ <- 1..60, do: assert(%{status: nil, halted: false} = call(conn))

      assert %{status: 429, halted: true, headers: headers, body: body} = call(conn)
      assert %{"retry-after" => "1", "content-type" => "application/problem+json"} = headers
      assert %{"ratelimit" => ~s("minute";r=0;t=1)} = headers
      assert body =~ ~s("status":429)
    end

    test "limits an IPv6 network, and a mapped IPv4 address as that address" do
      for host <- 1..60, do: call(%Plug.Conn{remote_ip: {0x2001, 0xDB8, 0, 7, 0, 0, 0, host}})
      assert call(%Plug.Conn{remote_ip: {0x2001, 0xDB8, 0, 7, 9, 9, 9, 9}}).status == 429
      assert call(%Plug.Conn{remote_ip: {0x2001, 0xDB8, 0, 8, 0, 0, 0, 1}}).status == nil

      for _ <- 1..60, do: call(%Plug.Conn{remote_ip: {0, 0, 0, 0, 0, 0xFFFF, 0xCB00, 0x7107}})
      assert call(%Plug.Conn{remote_ip: {203, 0, 113, 7}}).status == 429
    end

    test "lets no client choose its address by a header" do
      for n <- 1..60, do: call(%Plug.Conn{req_headers: [{"x-forwarded-for", "203.0.113.#{n}"}]})
      assert call(%Plug.Conn{req_headers: [{"x-forwarded-for", "203.0.113.99"}]}).status == 429
    end

    defp call(conn), do: MyAppWeb.RateLimit.call(conn, MyAppWeb.RateLimit.init(:minute))
  end
end

defmodule RateLimiter.ReadmeApplicationTest do
  # Not async: the README's handler is attached for the whole node.
  use ExUnit.Case

  import ExUnit.CaptureLog

  setup do
    :ok = MyApp.Denials.attach()
    on_exit(fn -> :telemetry.detach(MyApp.Denials) end)
  end

  test "the telemetry handler logs a denial and when to retry, but not the id" do
    RateLimiter.Test.start(limiters: [mail: [windows: [day: [limit: 1, per: :day]]]])

    log =
      capture_log(fn ->
        RateLimiter.check_and_track(:mail, "ann@example.org", :day, cost: 2)
        RateLimiter.check_and_track(:mail, "ann@example.org", :day)
        RateLimiter.check_and_track(:mail, "ann@example.org", :day)
      end)

    assert log =~ ~r/mail denied [0-9a-f]{16}, the cost is more than the window holds/
    assert log =~ "retry after 86400000 ms"
    refute log =~ "ann"
  end

  test "the plug answers 503 where a limiter denies without its Redis" do
    start_supervised!(
      {RateLimiter,
       name: :dead,
       store: {:redis, url: "redis://127.0.0.1:1"},
       limiters: [api: [windows: [minute: [limit: 1, per: :minute]], on_outage: :deny]]}
    )

    conn = MyAppWeb.RateLimit.call(%Plug.Conn{}, :minute)
    assert %{status: 503, halted: true, headers: %{"retry-after" => "1"}} = conn
  end
end
