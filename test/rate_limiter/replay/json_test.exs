defmodule RateLimiter.Replay.JsonTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Json, only: [decode!: 1]
  import RateLimiter.Support.ReplayReport

  alias RateLimiter.Replay.Json

  describe "render/1" do
    @describetag :tmp_dir

    test "JSON has the whole report", context do
      report = report(context)
      json = report |> Json.render() |> IO.iodata_to_binary() |> decode!()
      [verdict | _] = report.verdicts

      assert %{
               "by" => ["ip"],
               "broken" => 1,
               "late" => 0,
               "sorted" => true,
               "without_id" => 1,
               "cost" => nil
             } = json

      assert [%{"name" => _, "problem" => nil}] = json["logs"]
      assert [first, second] = json["limits"]
      assert %{"text" => "1/min", "limit" => 1, "per_ms" => 60_000, "burst" => 1} = first
      assert %{"text" => "2/min:sliding_log", "burst" => nil} = second
      assert {first["admitted"], first["denied"]} == {verdict.admitted, verdict.denied}
      assert first["denied_share"] == verdict.denied / verdict.requests

      assert [%{"ids_denied_at_most_percent" => +0.0, "text" => "2/min", "burst" => 2} | _] =
               first["smallest"]

      assert length(first["by_hour"]) == 24
      assert length(first["by_limit"]) == length(verdict.curve)
      assert length(first["over_time"]["columns"]) == length(verdict.columns)
      assert hd(first["top_denied"])["denied"] == hd(verdict.top).denied
      # Lines without a path and a status.
      counts = %{"value" => nil, "requests" => verdict.requests, "denied" => verdict.denied}
      assert {first["denied_paths"], first["denied_statuses"]} == {[counts], [counts]}
    end

    test "JSON is valid for any id, and for an empty log", context do
      report = report(context, by: ["ip", "user"])
      [limit | _] = (report |> Json.render() |> IO.iodata_to_binary() |> decode!())["limits"]

      assert [["<script>alert(1)</script>&amp;\\x1B[31m'\" " <> _, nil] | _] =
               for(top <- limit["top_denied"], do: top["id"])

      empty = report(context, log: "") |> Json.render() |> IO.iodata_to_binary() |> decode!()

      assert %{"first" => nil, "requests" => 0, "notes" => ["the log is empty"]} = empty
    end
  end
end
