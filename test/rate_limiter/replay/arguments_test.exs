defmodule RateLimiter.Replay.ArgumentsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Replay.{Arguments, Settings}

  defp options(argv) do
    {:ok, _paths, options, _output} = Arguments.parse(["--limit", "1/s" | argv])
    options
  end

  defp error(argv) do
    {:error, message} = Arguments.parse(["--limit", "1/s" | argv])
    message
  end

  test "the options are those that a replay takes" do
    for argv <- [
          [],
          ["--by", "path,ip"],
          ["--cost", "bytes", "--format", "clf"],
          ["--no-fit", "--top", "0"]
        ],
        do: assert(%Settings{} = argv |> options() |> Settings.new!())
  end

  test "without a file, standard input is read" do
    assert {:ok, ["-"], _, %{json: false, html: nil, progress: nil}} =
             Arguments.parse(["-l", "1/s"])

    assert {:ok, ["b", "a"], _, _} = Arguments.parse(["b", "-l", "1/s", "a"])
  end

  test "a limit is required, and may be repeated" do
    assert Arguments.parse(["a.log"]) ==
             {:error, "--limit: expected at least one, such as --limit 60/min"}

    assert options(["--limit", "2/s"])[:limits] == ["1/s", "2/s"]
  end

  test "fields may be repeated or listed" do
    assert options([])[:by] == ["ip"]
    assert options(["--by", "ip, path"])[:by] == options(["-b", "ip", "--by", "path"])[:by]
  end

  test "--id-field is the JSON field of that name only" do
    assert options(["--id-field", "ip"])[:fields] == %{"ip" => "ip"}

    assert {["tenant"], %{}} =
             {options(["--id-field", "tenant"])[:by], options(["--id-field", "tenant"])[:fields]}
  end

  test "a share is a percentage, exact to one part per million, and zero is always searched" do
    assert options([])[:shares_ppm] == [0, 10_000]
    assert options(["--target", "0.5%", "--target", "100"])[:shares_ppm] == [0, 5_000, 1_000_000]
    assert options(["--target", "0.0001%"])[:shares_ppm] == [0, 1]
    assert options(["--target", "0", "--target", "0.00 %"])[:shares_ppm] == [0]

    for wrong <- ["", "-1", "100.0001", "1.00001", "many", "5%%"],
        do:
          assert(
            error(["--target", wrong]) =~ "--target: expected a share of clients from 0% to 100%"
          )
  end

  test "every percentage of up to four decimals is read exactly" do
    :rand.seed(:exsss, 5)

    for _ <- 1..200 do
      ppm = :rand.uniform(1_000_001) - 1

      text =
        "#{div(ppm, 10_000)}.#{ppm |> rem(10_000) |> Integer.to_string() |> String.pad_leading(4, "0")}"

      assert options(["--target", text])[:shares_ppm] == Enum.uniq([0, ppm])
    end
  end

  test "--reorder is a span of at most 365 days" do
    assert {60_000, 0, 300_000} =
             {options([])[:reorder_ms], options(["--reorder", "0"])[:reorder_ms],
              options(["--reorder", "5min"])[:reorder_ms]}

    assert options(["--reorder", "365d"])[:reorder_ms] == 31_536_000_000

    for wrong <- ["366d", "5", "soon", "-1s"],
        do: assert(error(["--reorder", wrong]) =~ "--reorder: expected a span")
  end

  test "formats and units have names, and a wrong one lists them" do
    assert options(["--format", "ndjson", "--time-unit", "us"])
           |> Keyword.take([:format, :time_unit]) == [format: :json, time_unit: :microsecond]

    assert error(["--format", "xml"]) ==
             ~s(--format: expected one of auto, clf, combined, common, json, ndjson, got: "xml")

    assert error(["--time-unit", "min"]) ==
             ~s(--time-unit: expected one of ms, ns, s, us, got: "min")
  end

  test "--field renames a field that every format has" do
    assert options(["--field", "ip=a=b", "--field", "user=u"])[:fields] == %{
             "ip" => "a=b",
             "user" => "u"
           }

    for wrong <- ["ip", "ip=", "who=x", "=x"],
        do:
          assert(error(["--field", wrong]) =~ "--field: expected FIELD=NAME with one of ip, user")
  end

  test "an unknown option is an error, and help comes before what is missing" do
    assert error(["--limits", "2/s"]) =~ "--limits"
    assert error(["--top", "many"]) =~ "--top"
    assert Arguments.parse(["--help"]) == :help
  end
end
