defmodule Mix.Tasks.RateLimiter.ReplayTest do
  # Not async: standard error is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.RateLimiter.Replay

  @moduletag :tmp_dir

  setup %{tmp_dir: dir} do
    path = Path.join(dir, "a.log")

    File.write!(path, """
    a - - [17/May/2015:10:05:00 +0000] "GET /x HTTP/1.1" 200 10
    a - - [17/May/2015:10:05:01 +0000] "GET /y HTTP/1.1" 200 10
    b - - [17/May/2015:10:05:02 +0000] "GET /x HTTP/1.1" 200 10
    """)

    %{path: path}
  end

  # Returns standard output, standard error and exit status of the task.
  defp run(argv, input \\ "") do
    test = self()

    err =
      capture_io(:stderr, fn ->
        out =
          capture_io([input: input, capture_prompt: false], fn ->
            send(test, {:status, status(fn -> Replay.run(argv) end)})
          end)

        send(test, {:out, out})
      end)

    assert_received {:status, status}
    assert_received {:out, out}
    {out, err, status}
  end

  defp status(fun) do
    fun.()
    0
  catch
    :exit, {:shutdown, status} -> status
  end

  test "a log prints its table", %{path: path} do
    assert {out, "", 0} = run([path, "--limit", "1/min"])
    assert out =~ "3 requests by 2 clients (ip) in "
    assert out =~ "requests           3      admitted          2       denied          1   33.3 %"
  end

  test "a dash, and no file, read standard input", %{path: path} do
    for argv <- [["-", "--limit", "1/min"], ["-l", "1/min"]] do
      assert {out, "", 0} = run(argv, File.read!(path))
      assert out =~ "3 requests by 2 clients (ip) in standard input\n"
    end
  end

  test "options may stand before files, and may be repeated", %{path: path} do
    argv = ["--limit", "1/min", "-b", "ip", path, "--by", "path", "--limit", "5/s:burst=9", path]
    assert {out, "", 0} = run(argv)
    assert out =~ "3 requests by 3 clients (ip, path) in "
    assert out =~ "was named more than once, and read once"
    assert out =~ ~r/^  1\/min +0 +0 % +0 +0 % +1\/min$/m
    assert out =~ ~r/^  5\/s:burst=9 /m
  end

  test "options name the fields of JSON lines", %{tmp_dir: dir} do
    path = Path.join(dir, "b.ndjson")
    File.write!(path, ~s({"at":1431857100,"who":{"ip":"x"},"ip":"y","n":3}\n))

    for {by, id} <- [
          {["--by", "who.ip"], "who.ip"},
          {["--id-field", "ip"], "ip"},
          {["--field", "ip=who.ip"], "ip"}
        ] do
      argv =
        [
          path,
          "--limit",
          "2/d",
          "--time-field",
          "at",
          "--time-unit",
          "s",
          "--cost",
          "n",
          "--format",
          "ndjson"
        ] ++ by

      assert {out, "", 0} = run(argv)
      assert out =~ "1 request by 1 client (#{id})"
      assert out =~ ~r/^  [xy] +1 +1 +100 % +for ever$/m
      assert out =~ ~r/smallest limit  that denies no client +3\/d\n/
    end
  end

  test "--target replaces the default target", %{path: path} do
    assert {out, "", 0} = run([path, "--limit", "1/min", "--target", "50%"])
    assert out =~ ~r/that denies at most 50 % of clients +1\/min\n/
    refute out =~ "at most 1 %"
  end

  test "--no-fit and --top 0 leave out their parts of the table", %{path: path} do
    assert {out, "", 0} = run([path, "--limit", "1/min", "--no-fit", "--top", "0"])
    refute out =~ "smallest limit"
    refute out =~ "most denied"
    refute out =~ "other limits"
  end

  test "--json writes JSON and nothing else to standard output", %{path: path} do
    assert {"{\n  \"logs\": [" <> _ = out, "", 0} = run([path, "--limit", "1/min", "--json"])
    assert String.ends_with?(out, "}\n")
  end

  test "--html also writes a page, and prints its path", %{path: path, tmp_dir: dir} do
    page = Path.join(dir, "page.html")
    assert {out, err, 0} = run([path, "--limit", "1/min", "--html", page])
    assert out =~ "3 requests"
    assert err == "The page is in #{page}\n"
    assert File.read!(page) =~ "<title>What these limits would have done to a.log</title>"

    nowhere = Path.join(dir, "none/page.html")
    assert {_, err, 1} = run([path, "--limit", "1/min", "--html", nowhere])
    assert String.replace(err, "\n", " ") =~ "--html #{nowhere}: no such file or directory"
  end

  test "--progress prints to standard error, and clears its line", %{path: path} do
    assert {_, err, 0} = run([path, "--limit", "1/min", "--progress"])

    assert err =~
             ~r/\A\r\e\[K100 %  3 lines  [\d,]+ a second\r\e\[Ksearching the smallest limits/

    assert String.ends_with?(err, "\r\e[K")
    assert {_, "", 0} = run([path, "--limit", "1/min", "--no-progress"])
  end

  test "--help prints the documentation" do
    assert {out, "", 0} = run(["--help"])
    assert out =~ "mix rate_limiter.replay access.log.gz --limit 60/min"
    for line <- String.split(out, "\n"), do: assert(String.length(line) <= 120)
  end

  describe "an invalid command line exits with status 2 and what was expected:" do
    for {argv, message} <- [
          {[], "--limit: expected at least one, such as --limit 60/min"},
          {["--limit"], "--limit: expected a value"},
          {["--limit", "60"],
           "limit \"60\": expected a number per period, such as 60/min, 10/s or 100/5min, got: \"60\""},
          {["--limit", "20k/s:sliding_log"],
           "limit \"20k/s:sliding_log\": limit: expected at most 10000 for this algorithm, got: 20000"},
          {["--limt", "1/s"], "--limt: no such option. Did you mean --limit?"},
          {["--xyz"], "--xyz: no such option"},
          {["--limit", "1/s", "--top", "many"], "--top: expected a whole number, got: \"many\""},
          {["--limit", "1/s", "--top", "-1"],
           "top: expected an integer from 0 to 10000, got: -1"},
          {["--limit", "1/s", "--target", "101%"],
           "--target: expected a share of clients from 0% to 100%, such as 0.5%, got: \"101%\""},
          {["--limit", "1/s", "--format", "csv"],
           "--format: expected one of auto, clf, combined, common, json, ndjson, got: \"csv\""},
          {["--limit", "1/s", "--time-unit", "h"],
           "--time-unit: expected one of ms, ns, s, us, got: \"h\""},
          {["--limit", "1/s", "--reorder", "soon"],
           "--reorder: expected a span of at most 365 days, such as 60s or 5min, got: \"soon\""},
          {["--limit", "1/s", "--field", "who=x"],
           "--field: expected FIELD=NAME with one of ip, user, path, method, status, bytes, referer, agent, got: \"who=x\""},
          {["--limit", "1/s", "--format", "clf", "--by", "tenant"],
           "by: expected a field of Common Log Format (ip, user, path, method, status, bytes, referer, agent), got: \"tenant\""},
          {["--limit", "1/s", "--json=yes"], "--json: expected no value, got: \"yes\""}
        ] do
      test "#{Enum.join(argv, " ")}", %{path: path} do
        assert {"", err, 2} = run([path | unquote(argv)])
        # Wrapped to 80 columns.
        assert Enum.all?(String.split(err, "\n"), &(String.length(&1) <= 80))
        words = String.replace(err, "\n", " ")

        assert words ==
                 "mix rate_limiter.replay: " <>
                   unquote(message) <> " See: mix help rate_limiter.replay "
      end
    end
  end

  describe "a log that cannot be read exits with status 1:" do
    test "a missing log", %{path: path} do
      missing = path <> ".none"
      assert {"", err, 1} = run([missing, "--limit", "1/s"])

      assert String.replace(err, "\n", " ") ==
               "mix rate_limiter.replay: #{missing}: no such file or directory "
    end

    test "a truncated log, after its report", %{tmp_dir: dir, path: path} do
      packed = path |> File.read!() |> :zlib.gzip()
      cut = Path.join(dir, "cut.gz")
      File.write!(cut, binary_part(packed, 0, byte_size(packed) - 8))
      assert {out, err, 1} = run([cut, "--limit", "1/min"])
      assert out =~ "3 requests"
      assert err =~ "its gzip data is cut off"
    end

    test "a log without a line that can be judged", %{tmp_dir: dir} do
      path = Path.join(dir, "rubbish")
      File.write!(path, "rubbish\n")
      assert {out, "", 1} = run([path, "--limit", "1/s"])
      assert out =~ "no line could be judged"
    end

    test "standard input that is out of order, after its report; as a file it is sorted",
         %{tmp_dir: dir} do
      lines =
        for minute <- 59..0//-1 do
          time = "17/May/2015:10:#{String.pad_leading("#{minute}", 2, "0")}:00 +0000"
          ~s(10.0.0.1 - - [#{time}] "GET / HTTP/1.1" 200 1\n)
        end

      assert {out, err, 1} = run(["--limit", "1/min", "--reorder", "0"], Enum.join(lines))
      assert out =~ "60 requests"
      words = String.replace(err, ~r/\s+/, " ")
      assert words =~ "59 requests (98.3 %) arrived more than 0 s late, so the figures are wrong"
      assert words =~ "name the log as a file, which can be sorted, or raise --reorder"

      path = Path.join(dir, "newest_first.log")
      File.write!(path, lines)
      assert {out, "", 0} = run([path, "--limit", "1/min"])
      assert out =~ ~r/ denied +0 +0 %/
      assert out =~ "the log is written newest first, and was read in order of time"
    end

    test "an empty log exits with status 0", %{tmp_dir: dir} do
      path = Path.join(dir, "empty")
      File.write!(path, "\n")
      assert {_, "", 0} = run([path, "--limit", "1/s"])
    end
  end
end
