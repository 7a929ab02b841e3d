defmodule Mix.Tasks.RateLimiter.CheckTest do
  # Not async: standard error is global, and so is the name of this node.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.RateLimiter.Check, as: Task

  @moduletag :tmp_dir

  defp file(folder, text) do
    path = Path.join(folder, "limits.toml")
    File.write!(path, text)
    path
  end

  defp fails(argv, status) do
    capture_io(:stderr, fn ->
      capture_io(fn -> assert catch_exit(Task.run(argv)) == {:shutdown, status} end)
    end)
  end

  test "prints what each window admits", %{tmp_dir: folder} do
    path = file(folder, "[api.windows.burst]\nlimit = 100\nper = \"second\"")

    assert capture_io(fn -> Task.run([path]) end) == """
           limiter  window  limit  at once  in any period
           api      burst   100/s  100      200
           """
  end

  test "an invalid file exits with status 1 and all reasons", %{tmp_dir: folder} do
    path =
      file(
        folder,
        "[api.windows]\na = { limit = 0, per = \"day\" }\nb = { limit = 1, per = \"week\" }"
      )

    assert [a, b] = [path] |> fails(1) |> String.split("\n", trim: true)
    assert a == "#{path}: api.windows.a.limit: expected a positive integer, got: 0"
    assert b =~ "#{path}: api.windows.b.per: expected a period"

    log =
      file(
        folder,
        "[api.windows]\na = { algorithm = \"sliding_log\", limit = 5000, per = \"day\" }"
      )

    assert capture_io(fn -> Task.run([log]) end) =~ "5000/d:sliding_log"
    assert fails([log, "--redis"], 1) =~ "#{log}: api.windows.a.limit: expected at most 1000"

    assert fails(["/no/such.json"], 1) ==
             "/no/such.json: cannot be read: no such file or directory\n"
  end

  test "an invalid command line exits with status 2", %{tmp_dir: folder} do
    path = file(folder, "[api.windows.a]\nlimit = 1\nper = \"day\"")

    for {argv, message} <- [
          {[], "expected one file, got: 0"},
          {["a", "b"], "expected one file, got: 2"},
          {["--redi", "a"], "--redi: no such option. Did you mean --redis?"},
          {[path, "--against", "shop"],
           "--against: expected a name and a host, such as shop@db1, got: shop"}
        ] do
      assert fails(argv, 2) == "mix rate_limiter.check: #{message}\n"
    end

    assert capture_io(fn -> Task.run(["--help"]) end) =~ "--against NAME"
  end

  test "--against prints what would change on a running node, and changes nothing", %{
    tmp_dir: folder
  } do
    path =
      file(
        folder,
        "[checked.windows.w]\nlimit = 7\nper = \"day\"\n[more.windows.w]\nlimit = 1\nper = \"day\""
      )

    cookie = "check#{System.unique_integer([:positive])}"

    args = [
      ~c"-setcookie",
      String.to_charlist(cookie) | Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    ]

    {_out, 0} = System.cmd("epmd", ["-daemon"])

    {:ok, peer, node} =
      :peer.start_link(%{name: :peer.random_name(), connection: :standard_io, args: args})

    {:ok, _} = :peer.call(peer, :application, :ensure_all_started, [:rate_limiter])
    limiters = [checked: [windows: [w: [limit: 5, per: :day]]]]
    child = {RateLimiter, name: Shop, limiters: limiters}
    {:ok, _} = :peer.call(peer, Supervisor, :start_child, [RateLimiter.Supervisor, child])

    {out, status} =
      System.cmd(
        "mix",
        [
          "rate_limiter.check",
          path,
          "--against",
          "#{node}",
          "--cookie",
          cookie,
          "--instance",
          "Shop"
        ],
        env: [{"MIX_ENV", "test"}],
        stderr_to_stdout: true
      )

    assert {status, out} == {0, out}
    assert out =~ "on #{node}:\nmore: is added\nchecked.w.limit: 5 -> 7\n"
    assert :peer.call(peer, RateLimiter, :limiters, [Shop])[:checked].windows[:w].limit == 5
  end
end
