defmodule Plug.Conn do
  # As much of Plug as the README's plug calls: this project does not depend on it.
  defstruct remote_ip: {127, 0, 0, 1}, headers: %{}, status: nil, halted: false

  def put_resp_header(conn, name, value), do: put_in(conn.headers[name], value)
  def send_resp(conn, status, _body), do: %{conn | status: status}
  def halt(conn), do: %{conn | halted: true}
end

# The README's modules, of which one is a test: that one runs with the others, and so all are defined while these load.
for block <- RateLimiter.Support.Documents.blocks("README.md") do
  Code.eval_string(block, [], file: "README.md")
end

defmodule RateLimiter.ReadmeTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Support.Documents

  # The limits that the README's application starts, under a clock that stands still.
  setup do
    RateLimiter.Test.start(
      vsm: true,
      limiters: [
        api: [
          windows: [
            burst: [algorithm: :token_bucket, limit: 100, per: :second, burst: 200],
            sustained: [algorithm: :sliding_window, limit: 1_000, per: {1, :minute}]
          ]
        ]
      ]
    )
  end

  doctest Documents.Readme

  test "the plug lets through what the limit allows, then answers with whole seconds to wait" do
    conn = %Plug.Conn{remote_ip: {203, 0, 113, 7}}
    window = MyAppWeb.RateLimit.init(:burst)

    for _ <- 1..200, do: assert(MyAppWeb.RateLimit.call(conn, window) == conn)

    assert MyAppWeb.RateLimit.call(conn, window) ==
             %{conn | status: 429, halted: true, headers: %{"retry-after" => "1"}}
  end

  test "the links lead somewhere" do
    assert [_ | _] = links = Documents.links("README.md")
    for link <- links, do: assert(File.exists?(link), "#{link} is missing")
  end
end

defmodule RateLimiter.ReadmeApplicationTest do
  # Not async: what the README starts and attaches is there for the whole node.
  use ExUnit.Case

  import ExUnit.CaptureLog

  setup do
    {:ok, application} = MyApp.Application.start(:normal, [])
    on_exit(fn -> stop(application) end)
  end

  # It is linked to the test, and may be on its way out already.
  defp stop(application) do
    Supervisor.stop(application)
  catch
    :exit, _reason -> :ok
  end

  test "the application starts the limits of which the README speaks" do
    assert [api: %{windows: windows}] = RateLimiter.limiters()
    assert %{limit: 100, per: :second, burst: 200, max: 200} = windows[:burst]
    assert %{algorithm: :sliding_window, limit: 1_000, per: {1, :minute}} = windows[:sustained]
  end

  test "the telemetry handler logs a denial, and not who was denied" do
    :ok = MyApp.Denials.attach()
    on_exit(fn -> :telemetry.detach(MyApp.Denials) end)

    log =
      capture_log(fn ->
        RateLimiter.check_and_track(:api, "ann@example.org", :burst, cost: 201)
      end)

    assert log =~ ~r/api denied [0-9a-f]{16}, retry in infinity ms/
    refute log =~ "ann"
  end
end
