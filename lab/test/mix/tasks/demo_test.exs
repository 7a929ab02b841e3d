defmodule Mix.Tasks.DemoTest do
  # Not async: standard error is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Demo
  alias RateLimiter.Core.Numbers
  alias RateLimiter.Terminal.{Screen, Text}

  @moduletag :tmp_dir

  defp out(argv), do: capture_io(fn -> Demo.run(argv) end)

  test "the five subsystems of the storm admit exactly their limits" do
    out = out([])

    # 1,550 calls in a minute: a burst of the limit, and then its rate. At the first call of the storm the bucket of s1
    # is full already, so it misses one refill.
    for {name, limit, admitted} <- [
          {"s1", "100/s", 1_149},
          {"s2", "50/s", 599},
          {"s3", "20/s", 269},
          {"s4", "100/min", 165},
          {"s5", "50/5min", 59}
        ] do
      denied = 1_550 - admitted

      row =
        [name, limit, "1,550", Numbers.number(admitted), Numbers.number(denied)]
        |> Enum.join(" +")

      assert out =~ ~r/^#{row} /m
    end
  end

  test "the subsystem in pain is scaled down, policy is not, and the scale recovers" do
    out = out([])

    [[_, lowest]] = Regex.scan(~r/^s1 +14,400 +[\d,]+ +\d+ % +(\d+) %$/m, out)
    assert String.to_integer(lowest) < 25
    assert out =~ ~r/^s5 +12 +12 +100 % +100 %$/m
    assert out =~ "00:20  Pain of 1.0 from :pool: the scale is cut from 1.0 to 0.7."
    assert out =~ ~r/the scale grows from [\d.]+ to 1\.0\./
  end

  test "the output fits 80 columns, and has no colour without a terminal", %{tmp_dir: dir} do
    path = Path.join(dir, String.duplicate("long", 30) <> ".log")
    File.write!(path, ~s(a - - [17/May/2015:10:05:00 +0000] "GET / HTTP/1.1" 200 1\n))

    for argv <- [[], [path]], line <- argv |> out() |> String.split("\n") do
      assert Text.width(line) <= 80, line
      refute line =~ "\e"
    end
  end

  test "the made-up log has a client to deny" do
    assert out([]) =~ ~r/^  192\.0\.2\.66 +[\d,]+ +[\d,]+ /m
  end

  test "two nodes that lose their Redis continue, and no caller waits for its return" do
    # Faster than for a reader.
    out = capture_io(fn -> Lab.Demo.Shared.show(Screen.of_stdout(), 60) end)
    for line <- String.split(out, "\n"), do: assert(Text.width(line) <= 80, line)
    assert [_ | rates] = Regex.run(~r/^together +([\d.]+) +([\d.]+) +([\d.]+)$/m, out)
    assert Enum.all?(rates, &(String.to_float(&1) > 1.0)), out
    assert [_, longest] = Regex.run(~r/longer than (\d+) ms/, out)

    # A bound for a busy machine. A caller that waited for Redis would wait for ever, since Redis returns only after
    # all callers got their answers.
    assert String.to_integer(longest) < 10_000, out
  end

  test "a given log is replayed with a limit that denies something", %{tmp_dir: dir} do
    path = Path.join(dir, "a.log")

    requests =
      for id <- 1..200, second <- 0..if(id < 3, do: 30, else: 1) do
        ~s(10.0.0.#{id} - - [17/May/2015:10:05:#{Text.fit("#{second + 10}", 2)} +0000] "GET / HTTP/1.1" 200 1\n)
      end

    File.write!(path, requests)
    out = out([path])

    assert out =~
             "60 a minute denies no client. 2/min is the smallest limit that denies at most\n1 % of clients:"

    assert out =~ "── 2/min   token bucket, burst 2 ──"
    assert out =~ "mix rate_limiter.replay "
  end

  test "a missing log is reported before the storm", %{tmp_dir: dir} do
    test = self()

    err =
      capture_io(:stderr, fn ->
        send(
          test,
          {:out,
           capture_io(fn -> assert {:shutdown, 1} = catch_exit(Demo.run([dir <> "/none"])) end)}
        )
      end)

    assert_received {:out, ""}
    assert err == "mix demo: #{dir}/none: no such file or directory\n"
  end

  test "an invalid command line exits with status 2, and nothing is shown" do
    for {argv, message} <- [
          {["--rediss"], "expected a log, --redis or --help, got: --rediss"},
          {["--help", "a.log"], "expected a log, --redis or --help, got: --help"},
          {["a.log", "b.log"], "expected at most one log, got: 2"}
        ] do
      err = capture_io(:stderr, fn -> assert catch_exit(Demo.run(argv)) == {:shutdown, 2} end)
      assert err == "mix demo: #{message}\n"
    end

    assert out(["--help"]) =~ "mix demo access.log.gz"
  end
end
