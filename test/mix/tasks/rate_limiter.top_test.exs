defmodule Mix.Tasks.RateLimiter.TopTest do
  # Not async: standard error is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.RateLimiter.Top, as: Task

  test "without epmd, the message names the command that starts it" do
    # A port where no epmd is.
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :ok = :gen_tcp.close(socket)

    {out, status} =
      System.cmd("mix", ~w(rate_limiter.top --once --node shop@localhost),
        env: [{"ERL_EPMD_PORT", "#{port}"}, {"MIX_ENV", "test"}],
        stderr_to_stdout: true
      )

    assert status == 1
    assert out =~ "Is epmd running? Start it by: epmd -daemon"
  end

  test "an invalid command line exits with status 2 and what was expected" do
    for {argv, message, status} <- [
          {["x"], "expected options only, got: x", 2},
          {["--nod", "a"], "--nod: no such option. Did you mean --node?", 2},
          {["--interval", "x"], "--interval: expected a whole number, got: \"x\"", 2},
          {["--node", "shop"], "--node: expected a name and a host, such as shop@db1, got: shop",
           2},
          {["--interval", "0"], "--interval: expected a positive number of seconds, got: 0", 2}
        ] do
      error =
        capture_io(:stderr, fn -> assert catch_exit(Task.run(argv)) == {:shutdown, status} end)

      assert error == "mix rate_limiter.top: #{message}\n"
    end
  end

  test "--help prints the options" do
    assert capture_io(fn -> Task.run(["--help"]) end) =~ "--node NAME"
  end
end
