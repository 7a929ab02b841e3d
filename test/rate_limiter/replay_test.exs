defmodule RateLimiter.ReplayTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Replay

  doctest RateLimiter.Replay

  @moduletag :tmp_dir

  # 2015-05-17 10:05:00 UTC
  @start 1_431_857_100

  defp clf(second, ip, rest \\ ~s("GET / HTTP/1.1" 200 1)),
    do: "#{ip} - - [#{stamp(second)}] #{rest}\n"

  defp stamp(second),
    do: Calendar.strftime(DateTime.from_unix!(@start + second), "%d/%b/%Y:%H:%M:%S +0000")

  defp file(%{tmp_dir: dir}, content, name \\ "a.log") do
    path = Path.join(dir, name)
    File.write!(path, content)
    path
  end

  defp replay!(paths, options \\ []) do
    {:ok, report} = Replay.run(List.wrap(paths), Keyword.put_new(options, :limits, ["1/min"]))
    report
  end

  defp verdict(report), do: hd(report.verdicts)

  defp counts(report) do
    verdict = verdict(report)
    {verdict.admitted, verdict.denied, verdict.ids, verdict.ids_denied}
  end

  defp top(report), do: for(id <- verdict(report).top, do: {id.id, id.requests, id.denied})

  describe "run/2: lines" do
    test "one log may have both log formats and JSON", context do
      log = [
        clf(0, "::1"),
        clf(1, "::1", ~s("GET / HTTP/1.1" 200 1 "-" "curl")),
        ~s({"time":"2015-05-17T12:05:02+02:00","remote_addr":"::1"}\n)
      ]

      assert counts(replay!(file(context, log))) == {1, 2, 1, 1}
    end

    test "an IPv6 address is one id", context do
      log = [clf(0, "2001:db8::1"), clf(1, "2001:db8::2"), clf(2, "2001:db8::1")]
      assert top(replay!(file(context, log))) == [{["2001:db8::1"], 2, 1}]
    end

    test "escaped quotes belong to the request", context do
      log = clf(0, "a", ~S("GET /\"x\" HTTP/1.1" 200 1))
      report = replay!(file(context, [log, log]), by: "path")
      assert top(report) == [{[~S(/\"x\")], 2, 1}]
    end

    test "lines may end in CRLF, or be empty, and the last may have no end", context do
      log =
        [clf(0, "a"), "\r\n", "\n", clf(1, "a")] |> Enum.join() |> String.replace("\n", "\r\n")

      report = replay!(file(context, String.trim_trailing(log)))
      assert counts(report) == {1, 1, 1, 1}
      assert %{lines: 4, blank: 2, broken: 0} = report.input
    end

    test "a byte order mark at the beginning is not part of the first id", context do
      assert %{ids: 1} = replay!(file(context, ["\uFEFF", clf(0, "a"), clf(1, "a")])).input
    end

    test "zero bytes and invalid UTF-8 are part of an id, and are escaped in the report",
         context do
      log = [clf(0, <<"a", 0, 255>>), clf(1, <<"a", 0, 255>>), clf(2, "a")]
      assert top(replay!(file(context, log))) == [{["a\\x00\\xFF"], 2, 1}]
    end

    test "a line longer than 1 MiB is broken, and the next one is read", context do
      log = [clf(0, String.duplicate("x", 1_100_000)), clf(1, "a")]
      report = replay!(file(context, log))
      assert {1, 0, 1, 0} = counts(report)
      assert [{0, 1, :too_long, "xxx" <> _}] = report.input.first_broken
    end

    test "broken lines are counted, and the first five are kept with their numbers", context do
      log = [clf(0, "a"), List.duplicate("no line\n", 7), ~s({"ip":"a"}\n)]
      input = replay!(file(context, log)).input
      assert %{lines: 9, requests: 1, broken: 8} = input
      assert Enum.map(input.first_broken, &elem(&1, 1)) == [2, 3, 4, 5, 6]
      assert {0, 2, :shape, "no line"} = hd(input.first_broken)
    end

    test "an empty log has an empty report", context do
      report = replay!(file(context, ""))
      assert counts(report) == {0, 0, 0, 0}
      assert %{lines: 0, first: nil, last: nil} = report.input
      assert %{smallest: [], curve: [], columns: []} = verdict(report)
      assert Replay.smallest(verdict(report), 0) == :unknown
    end
  end

  describe "run/2: ids" do
    test "several fields together are one id", context do
      log =
        for {ip, path} <- [{"a", "/x"}, {"a", "/y"}, {"b", "/x"}, {"a", "/x?q"}],
            do: clf(0, ip, ~s("GET #{path} HTTP/1.1" 200 1))

      report = replay!(file(context, log), by: ["ip", "path"])
      assert counts(report) == {3, 1, 3, 1}
      assert top(report) == [{["a", "/x"], 2, 1}]
    end

    test "method, status, referer and agent may be ids", context do
      log = clf(0, "a", ~s("PUT / HTTP/1.1" 404 1 "http://e.org" "curl/8"))

      for {by, id} <- [
            {"method", "PUT"},
            {"status", "404"},
            {"referer", "http://e.org"},
            {"agent", "curl/8"}
          ] do
        assert top(replay!(file(context, [log, log]), by: by)) == [{[id], 2, 1}]
      end
    end

    test "a line without an id is counted apart", context do
      log = [
        clf(0, "a"),
        String.replace(clf(1, "a"), " - - ", " - anna "),
        ~s({"time":1431857100,"user":""}\n),
        ~s({"time":1431857100,"user":"-"}\n)
      ]

      report = replay!(file(context, log), by: "user")
      assert counts(report) == {1, 0, 1, 0}
      assert %{without_id: 3, requests: 1, lines: 4} = report.input
    end

    test "a JSON field is found by its name, also with dots for nesting or in the name",
         context do
      log = """
      {"ts":1431857100,"tenant":{"id":7}}
      {"ts":1431857101,"tenant.id":"7"}
      {"ts":1431857102,"tenant":{"id":null}}
      {"ts":1431857103,"tenant":{"id":[7]}}
      """

      report = replay!(file(context, log), by: "tenant.id")
      assert top(report) == [{["7"], 2, 1}]
      assert %{without_id: 1, broken: 1} = report.input
    end

    test "the fields of every format may have other names in JSON", context do
      log = ~s({"at":1431857100,"peer":"x","ip":"y"}\n)
      options = [time_field: "at", fields: %{"ip" => "peer"}]
      assert top(replay!(file(context, [log, log]), options)) == [{["x"], 2, 1}]
    end
  end

  describe "run/2: cost" do
    test "the cost of a request is in its field; a dash is 0", context do
      log =
        for {second, bytes} <- [{0, 60}, {1, 30}, {2, "-"}, {3, 20}, {4, 101}],
            do: clf(second, "a", ~s("GET / HTTP/1.1" 200 #{bytes}))

      report = replay!(file(context, log), limits: ["100/d"], cost: "bytes")
      assert counts(report) == {3, 2, 1, 1}
      # A request that costs more than the limit waits for ever.
      assert [%{longest_wait_ns: nil}] = verdict(report).top
      assert {:ok, %{limit: 211}} = Replay.smallest(verdict(report), 0)
    end
  end

  describe "run/2: time" do
    test "time zone offsets are applied, and hours are on the clock of the log", context do
      log = """
      a - - [17/May/2015:23:59:50 -0500] "GET / HTTP/1.1" 200 1
      a - - [18/May/2015:00:00:10 -0500] "GET / HTTP/1.1" 200 1
      """

      report = replay!(file(context, log))
      hours = verdict(report).hours
      assert {Enum.at(hours, 23), Enum.at(hours, 0)} == {{1, 0}, {0, 1}}
      assert report.input.zone_minutes == -300
      assert report.input.first == {1_431_925_190_000_000_000, -300}
      refute report.input.mixed_zones
    end

    test "the unit of a number follows from its magnitude, unless an option names it", context do
      for {number, ns} <- [
            {"1431857100", 0},
            {"1431857100000", 0},
            {"1431857100000000", 0},
            {"1431857100000000007", 7},
            {~s("1431857100.5"), 500_000_000}
          ] do
        report = replay!(file(context, ~s({"time":#{number},"ip":"a"})))
        assert report.input.first == {@start * 1_000_000_000 + ns, 0}, number
      end

      report = replay!(file(context, ~s({"time":5000,"ip":"a"})), time_unit: :millisecond)
      assert report.input.first == {5_000_000_000, 0}
    end

    test "a request within the reorder span is put into its place", context do
      # In the order of the file the second is denied; in the order of time the first two are a minute apart.
      log = [clf(60, "a"), clf(0, "a"), clf(120, "a")]
      assert counts(replay!(file(context, log))) == {3, 0, 1, 0}
      refute replay!(file(context, log)).sorted
    end

    test "a file that is out of order by more than that is sorted", context do
      log = [clf(0, "a"), clf(1_000, "a"), clf(2_000, "b"), clf(100, "a"), clf(101, "a")]
      report = replay!(file(context, log))
      assert %{late: 0, requests: 5} = report.input
      assert report.sorted
      # Only the second of the two within a second.
      assert counts(report) == {4, 1, 2, 1}
    end

    test "the order of lines changes no figure", context do
      log =
        for number <- 0..999,
            do: clf(div(number * number, 40), "10.0.0.#{rem(number * 7, 13)}")

      figures = fn lines ->
        report = replay!(file(context, lines), limits: ["7/min", "30/h:sliding_log"])
        for verdict <- report.verdicts, do: %{verdict | top: Enum.sort(verdict.top)}
      end

      expected = figures.(log)
      assert figures.(Enum.reverse(log)) == expected
      assert figures.(Enum.drop(log, 500) ++ Enum.take(log, 500)) == expected
      :rand.seed(:exsss, {1, 2, 3})
      for _ <- 1..3, do: assert(figures.(Enum.shuffle(log)) == expected)
      assert replay!(file(context, :zlib.gzip(Enum.reverse(log)))).sorted
    end

    test "a number that is a duration is not the time", context do
      line = ~s({"time":0.003,"timestamp":"2015-05-17T10:05:00Z","ip":"a"}\n)
      report = replay!(file(context, line))
      assert report.input.first == {@start * 1_000_000_000, 0}
      report = replay!(file(context, ~s({"time":0.003,"ip":"a"}\n)))
      assert %{broken: 1, requests: 0} = report.input
    end

    test "the columns over time have every request once", context do
      log = for second <- 0..9_999//7, do: clf(second, "a")
      verdict = verdict(replay!(file(context, log)))
      assert Enum.sum(for {_, admitted, _} <- verdict.columns, do: admitted) == verdict.admitted
      assert Enum.sum(for {_, _, denied} <- verdict.columns, do: denied) == verdict.denied
      starts = for {start, _, _} <- verdict.columns, do: start
      assert Enum.uniq(Enum.zip_with(tl(starts), starts, &(&1 - &2))) == [verdict.column_seconds]
    end
  end

  describe "run/2: several logs" do
    test "several logs are merged by time in any order", context do
      first = file(context, for(second <- 0..4_000//40, do: clf(second, "a")), "1.log")
      second = file(context, for(second <- 20..4_020//40, do: clf(second, "a")), "2.log")
      third = file(context, for(second <- 4_100..5_000, do: clf(second, "b")), "3.log")

      reports = for paths <- [[first, second, third], [third, second, first]], do: replay!(paths)
      [one, other] = Enum.map(reports, &%{verdict(&1) | columns: []})
      assert one == other
      assert Enum.all?(reports, &(&1.input.late == 0))
      # One per minute of the two logs together.
      assert counts(hd(reports)) == {68 + 16, 202 + 901 - 84, 2, 2}
    end

    test "a file that is named twice is read once", context do
      path = file(context, clf(0, "a"))
      link = Path.join(context.tmp_dir, "link.log")
      File.ln_s!(path, link)
      report = replay!([path, path, link])
      assert counts(report) == {1, 0, 1, 0}
      assert report.repeated == [path, link]
    end

    test "a broken line has the index of its log", context do
      paths = [file(context, clf(0, "a"), "1.log"), file(context, "oops\n", "2.log")]
      assert [{1, 1, :shape, "oops"}] = replay!(paths).input.first_broken
    end

    test "a log that cannot be opened returns an error before any log is read", context do
      missing = Path.join(context.tmp_dir, "none.log")

      assert Replay.run([file(context, clf(0, "a")), missing], limits: ["1/s"]) ==
               {:error, "#{missing}: no such file or directory"}
    end
  end

  describe "run/2: limits" do
    test "each limit is judged alone", context do
      log = for second <- 0..9, do: clf(second, "a")

      report =
        replay!(file(context, log),
          limits: ["5/min", "1/h", [limit: 7, per: :minute, algorithm: :fixed_window]]
        )

      assert Enum.map(report.verdicts, & &1.admitted) == [5, 1, 7]
    end

    test "the smallest limit keeps the proportion of its burst", context do
      log = for _ <- 1..7, do: clf(0, "a")
      verdict = verdict(replay!(file(context, log), limits: ["10/s:burst=20"]))
      assert {:ok, %{limit: 4, burst: 8}} = Replay.smallest(verdict, 0)
      assert Replay.smallest(verdict, 5_000) == :unknown
    end

    test "the smallest limit is :none if no limit is high enough", context do
      log = for _ <- 1..10_001, do: clf(0, "a")
      verdict = verdict(replay!(file(context, log), limits: ["10/s:sliding_log"]))
      assert Replay.smallest(verdict, 0) == :none
    end

    test "fit: false searches no smallest limit", context do
      verdict = verdict(replay!(file(context, clf(0, "a")), fit: false))
      assert {verdict.smallest, verdict.curve} == {[], []}
    end
  end

  describe "run/2: progress" do
    test "the progress function gets lines, bytes and size", context do
      path = file(context, for(second <- 0..9_999, do: clf(second, "a")))
      test = self()
      replay!(path, progress: &send(test, {:progress, &1}))
      size = File.stat!(path).size

      assert_received {:progress, %{lines: lines, bytes: 262_144, size: ^size}}
                      when lines in 1..9_999

      assert_received {:progress, :fitting}
    end
  end
end
