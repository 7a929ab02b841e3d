defmodule Mix.Tasks.RateLimiter.DashboardTest do
  # Not async: standard error is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO
  import RateLimiter.Support.Eventually

  alias Mix.Tasks.RateLimiter.Dashboard, as: Task

  test "it prints its address, and serves the page there until it is stopped" do
    {:ok, output} = StringIO.open("")

    server =
      spawn(fn ->
        Process.group_leader(self(), output)
        Task.run(["--port", "0"])
      end)

    printed = fn -> output |> StringIO.contents() |> elem(1) end
    address = eventually(fn -> String.contains?(printed.(), "\n") && String.trim(printed.()) end)
    assert address =~ ~r/\Ahttp:\/\/127\.0\.0\.1:\d+\z/
    assert {:ok, {{_, 200, _}, _headers, _page}} = :httpc.request(String.to_charlist(address))
    Process.exit(server, :kill)
    eventually(fn -> match?({:error, _}, :httpc.request(String.to_charlist(address))) end)
  end

  test "a port that is in use exits with status 1, an invalid command line with 2" do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)

    for {argv, message, status} <- [
          {["--port", "#{port}"], "port #{port} is in use: choose another one by --port", 1},
          {["x"], "expected options only, got: x", 2},
          {["--prt", "1"], "--prt: no such option. Did you mean --port?", 2},
          {["--port", "65536"], "--port: expected a port from 0 to 65535, got: 65536", 2},
          {["--node", "shop"], "--node: expected a name and a host, such as shop@db1, got: shop",
           2}
        ] do
      error =
        capture_io(:stderr, fn ->
          assert catch_exit(Task.run(argv)) == {:shutdown, status}
        end)

      assert error == "mix rate_limiter.dashboard: #{message}\n"
    end
  end

  test "--help prints the options" do
    assert capture_io(fn -> Task.run(["--help"]) end) =~ "--port PORT"
  end
end
