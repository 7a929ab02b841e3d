defmodule RateLimiter.Replay.JsonTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.ReplayReport

  alias RateLimiter.Replay.Json

  doctest Json

  test "a string has no bare quote, backslash or control character, and decodes to itself" do
    :rand.seed(:exsss, 8)
    chars = Enum.map(0..0x1F, &<<&1>>) ++ ["\"", "\\", "a", "ü", "€", "😀", "\d", "\u2028"]

    for _ <- 1..300 do
      text = for _ <- 1..:rand.uniform(20), into: "", do: Enum.random(chars)
      encoded = encode(text)
      refute encoded =~ ~r/[\x00-\x1f]/
      assert decode(encoded) == text
    end
  end

  test "numbers and literals are those of JSON" do
    for {value, json} <- [
          {nil, "null"},
          {true, "true"},
          {false, "false"},
          {0, "0"},
          {-12, "-12"},
          {0.1, "0.1"},
          {1.0, "1.0"},
          {[], "[]"},
          {[1, "a", nil], ~s([1, "a", null])}
        ],
        do: assert(encode(value) == json)

    for float <- [1.0e-9, 1.0e22, 0.30000000000000004, -0.5] do
      assert {^float, ""} = Float.parse(encode(float))
    end
  end

  test "an object keeps the order of its members" do
    assert encode(z: 1, a: 2) == ~s({\n  "z": 1,\n  "a": 2\n})
  end

  test "a table has one line a row, and a row that holds a list is spread out" do
    assert encode([[a: 1, b: 2], [a: 3, b: []]]) ==
             ~s([\n  {"a": 1, "b": 2},\n  {"a": 3, "b": []}\n])

    assert encode([[a: [1]]]) == ~s([\n  {\n    "a": [1]\n  }\n])
  end

  defp encode(term), do: term |> Json.encode("") |> IO.iodata_to_binary()

  describe "render/1" do
    @describetag :tmp_dir

    test "JSON has the whole report", context do
      report = report(context)
      json = report |> Json.render() |> IO.iodata_to_binary() |> decode()
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
    end

    test "JSON is valid for any id, and for an empty log", context do
      report = report(context, by: ["ip", "user"])
      [limit | _] = (report |> Json.render() |> IO.iodata_to_binary() |> decode())["limits"]

      assert [["<script>alert(1)</script>&amp;\\x1B[31m'\" " <> _, nil] | _] =
               for(top <- limit["top_denied"], do: top["id"])

      empty = report(context, log: "") |> Json.render() |> IO.iodata_to_binary() |> decode()

      assert %{"first" => nil, "requests" => 0, "notes" => ["the log is empty"]} = empty
    end
  end

  # A parser of RFC 8259, independent of the writer.
  defp decode(text) do
    {value, rest} = value(String.trim_leading(text))
    assert String.trim(rest) == ""
    value
  end

  defp value("null" <> rest), do: {nil, rest}
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("[" <> rest), do: rest |> String.trim_leading() |> members("]", [], &value/1)

  defp value("{" <> rest) do
    {pairs, rest} = rest |> String.trim_leading() |> members("}", [], &pair/1)
    assert length(Enum.uniq_by(pairs, &elem(&1, 0))) == length(pairs)
    {Map.new(pairs), rest}
  end

  defp value("\"" <> rest), do: string(rest, "")

  defp value(text) do
    [number] = Regex.run(~r/\A-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/, text)
    {rest, ""} = {String.replace_prefix(text, number, ""), ""}

    {if(number =~ ~r/[.eE]/, do: elem(Float.parse(number), 0), else: String.to_integer(number)),
     rest}
  end

  defp members(text, close, done, each) do
    if String.starts_with?(text, close) do
      {Enum.reverse(done), String.replace_prefix(text, close, "")}
    else
      {member, rest} = each.(text)

      case String.trim_leading(rest) do
        "," <> rest -> rest |> String.trim_leading() |> members(close, [member | done], each)
        rest -> members(rest, close, [member | done], each)
      end
    end
  end

  defp pair("\"" <> rest) do
    {key, rest} = string(rest, "")
    ":" <> rest = String.trim_leading(rest)
    {value, rest} = rest |> String.trim_leading() |> value()
    {{key, value}, rest}
  end

  defp string("\"" <> rest, done), do: {done, rest}
  defp string("\\n" <> rest, done), do: string(rest, done <> "\n")

  defp string("\\u" <> <<hex::binary-size(4), rest::binary>>, done),
    do: string(rest, done <> <<String.to_integer(hex, 16)::utf8>>)

  defp string("\\" <> <<char, rest::binary>>, done) when char in [?", ?\\, ?/],
    do: string(rest, done <> <<char>>)

  defp string(<<char::utf8, rest::binary>>, done) when char >= 0x20,
    do: string(rest, done <> <<char::utf8>>)
end
