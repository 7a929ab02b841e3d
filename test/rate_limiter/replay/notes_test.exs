defmodule RateLimiter.Replay.NotesTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Replay.{Notes, Report}

  @input %{
    lines: 100,
    blank: 0,
    requests: 100,
    without_id: 0,
    late: 0,
    broken: 0,
    first_late: nil,
    first_broken: [],
    ids: 7,
    steps: {99, 0},
    layouts: [],
    suspects: {0, 0, 0, nil},
    first_fields: []
  }

  defp notes(input, report \\ []) do
    %Report{
      logs: [{"logs/a.log", nil}],
      by: ["ip"],
      cost: nil,
      input: Map.merge(@input, Map.new(input)),
      verdicts: [],
      fitted: true,
      reorder_ms: 60_000
    }
    |> struct!(report)
    |> Notes.notes()
  end

  defp texts(input, report \\ []), do: for({text, _lines} <- notes(input, report), do: text)

  test "a log without defects has no notes" do
    assert notes([]) == []
  end

  test "a broken log, a repeated one and an empty one are named" do
    assert texts([], logs: [{"a.gz", "a.gz is damaged at byte 9"}]) == [
             "a.gz is damaged at byte 9. The lines before it count."
           ]

    assert texts([], repeated: ["a.log"]) == ["a.log was named more than once, and read once"]
    assert texts(lines: 0, requests: 0, ids: 0, steps: {0, 0}) == ["the log is empty"]
    assert "no line could be judged" in texts(lines: 1, requests: 0, ids: 0, broken: 1)
  end

  test "unread lines have the first of each reason, with its place, as visible text" do
    broken = [{0, 3, :shape, "\e[31m"}, {0, 4, :shape, "x"}, {0, 9, :json, "{"}]

    assert [{"3 lines of 100 could not be read (3.00 %); the first:", shown}] =
             notes(broken: 3, first_broken: broken)

    assert [
             {"a.log:3", "neither Common Log Format nor a JSON object", "\\x1B[31m"},
             {"a.log:9", "not a complete JSON object", "{"}
           ] = shown

    assert [{"1 line of 100 could not be read (1.00 %):", [_]}] =
             notes(broken: 1, first_broken: [{0, 3, :shape, "x"}])
  end

  test "every reason of the reader has words" do
    for reason <-
          ~w(too_long shape time request status json no_time nested cost too_many_ids utf16 carriage_returns no_field)a do
      assert [{_, [{_, text, _}]} | _] =
               notes([broken: 1, first_broken: [{0, 1, reason, "x"}]], by: ["tenant"])

      assert is_binary(text)
    end
  end

  test "a late request makes the figures wrong, and says what mends it" do
    assert [text] = texts(late: 5, first_late: {0, 8})
    assert text =~ "5 requests (5.00 %) arrived more than 1 min late, so the figures are wrong"
    assert text =~ "the first in a.log:8"
  end

  test "a log in the wrong order was sorted, newest first or not" do
    assert texts([steps: {1, 99}], sorted: true) == [
             "the log is written newest first, and was read in order of time"
           ]

    assert [text] = texts([steps: {99, 1}], sorted: true)
    assert text =~ "more than 1 min out of order"
  end

  test "lines without the field list the fields that there are, and the one that may be meant" do
    fields = [{"level", "info"}, {"peer", "10.0.0.1:5"}, {"ts", "1795993233"}]

    assert ["2 lines of 100 have no ip and were not judged", text] =
             texts(without_id: 2, first_fields: fields)

    assert text == "the first such line has the fields level, peer, ts. Try --by peer"

    broken = [broken: 1, first_broken: [{0, 1, :no_time, "{"}], first_fields: fields]
    assert List.last(texts(broken)) =~ "Try --time-field ts"
  end

  test "more fields than a line can show are cut" do
    fields = for number <- 1..13, do: {"f#{number}", "x"}
    [_, text] = texts(without_id: 1, first_fields: fields)
    assert text =~ "f12, ..."
    refute text =~ "f13"
  end

  test "ids that look wrong come with the option that mends them" do
    assert [text] = texts(ids: 1, requests: 50)
    assert text =~ "all requests have one id: check that ip is the client"
    assert texts(ids: 1, requests: 49) == []

    assert [text] = texts(suspects: {1, 0, 0, "web-1:80"})
    assert text =~ "1 of 7 ids is not an address, such as web-1:80"
    # Fewer than one of ten may be tests of an operator.
    assert texts(ids: 20, suspects: {2, 0, 0, "x"}) == []

    assert [text] = texts([suspects: {0, 2, 0, "a, b"}], by: ["peer"])
    assert text =~ "2 of 7 ids are lists of addresses, such as a, b, which split one client"
    assert text =~ "--by ip --field ip=peer"

    assert [text] = texts(suspects: {0, 0, 3, "10.0.0.1:5"})
    assert text =~ "3 of 7 ids are addresses with a port"
  end

  test "what stood around the fields is named" do
    for layout <- ~w(list port virtual_host syslog compose kubernetes envelope amazon envoy w3c) do
      assert ["1 request has " <> _] = texts(layouts: [{layout, 1}])
      assert ["2 requests have " <> _] = texts(layouts: [{layout, 2}])
    end
  end
end
