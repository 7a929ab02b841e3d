defmodule RateLimiter.Replay.ReportTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.ReplayReport

  alias RateLimiter.Replay.Report

  @moduletag :tmp_dir

  test "id_text/1 joins the fields, with a dash for one that is missing" do
    assert Report.id_text(["10.0.0.1"]) == "10.0.0.1"
    assert Report.id_text(["10.0.0.1", nil, "/a"]) == "10.0.0.1 - /a"
  end

  test "a report names its logs, and has one verdict a limit in the order of the limits",
       context do
    report = report(context, limits: ["1/min", "3/min", "2/min"])
    assert [{path, nil}] = report.logs
    assert Path.basename(path) == "a <i>log.log"
    assert for(verdict <- report.verdicts, do: verdict.limit.limit) == [1, 3, 2]
    assert {report.by, report.cost, report.fitted} == {["ip"], nil, true}
  end

  test "each verdict counts every request and client of the log once", context do
    report = report(context)

    for verdict <- report.verdicts do
      assert verdict.requests == report.input.requests
      assert verdict.admitted + verdict.denied == verdict.requests
      assert verdict.ids == report.input.ids
      assert verdict.ids_denied in 0..verdict.ids
    end
  end

  test "the smallest limit of each share keeps the kind of the limit that was judged", context do
    [bucket, log] = report(context, shares_ppm: [0, 500_000]).verdicts

    assert [{0, %{algorithm: :token_bucket}}, {500_000, %{algorithm: :token_bucket}}] =
             bucket.smallest

    assert [{0, %{algorithm: :sliding_log, burst: nil}}, {500_000, %{limit: fewer}}] =
             log.smallest

    assert fewer <= elem(hd(log.smallest), 1).limit
  end

  test "without a search there is no smallest limit and no curve", context do
    report = report(context, fit: false)
    refute report.fitted
    for verdict <- report.verdicts, do: assert({verdict.smallest, verdict.curve} == {[], []})
  end

  test "the ids denied most often are visible text, in order, at most :top of them", context do
    [verdict | _] = report(context, top: 3).verdicts
    assert length(verdict.top) == 3
    denied = Enum.map(verdict.top, & &1.denied)
    assert denied == Enum.sort(denied, :desc)
    for %{id: [text]} <- verdict.top, do: refute(text =~ ~r/[\x00-\x1f]/)
  end
end
