defmodule RateLimiter.Replay.ChartsTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Core.LimitText
  alias RateLimiter.Replay.{Charts, Verdict}
  alias RateLimiter.Terminal.Svg

  # A verdict of columns and a curve that add up.
  defp verdict(columns, options \\ []) do
    {:ok, limit} = LimitText.parse(options[:limit] || "10/min")
    admitted = columns |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    denied = columns |> Enum.map(&elem(&1, 2)) |> Enum.sum()

    %Verdict{
      limit: limit,
      requests: admitted + denied,
      admitted: admitted,
      denied: denied,
      ids: 100,
      ids_denied: 10,
      top: [],
      hours: options[:hours] || List.duplicate({0, 0}, 24),
      column_seconds: options[:seconds] || 60,
      columns: columns,
      paths: [],
      statuses: [],
      smallest: [],
      curve: options[:curve] || [{10, 10, denied}]
    }
  end

  defp columns(count, seconds),
    do:
      for(
        at <- 0..(count - 1),
        do: {1_431_820_800 + at * seconds, :rand.uniform(1_000) - 1, :rand.uniform(100) - 1}
      )

  defp timeline(verdict, zone \\ 0) do
    {chart, width} = Charts.timeline(verdict, zone, "t")
    {broad(chart), width}
  end

  # The drawing for wide pages, after both have been examined.
  defp broad(chart) do
    [broad, narrow] = chart |> IO.iodata_to_binary() |> String.split(~s(<div class="narrow">))
    {broad_box, narrow_box} = Svg.boxes()
    assert_inside(broad, broad_box)
    assert_inside(narrow, narrow_box)
    assert_apart(broad)
    assert_apart(narrow)
    assert tips(broad) == tips(narrow)
    broad
  end

  # Labels of the lower axis do not touch each other, with digits of 6.7 units.
  defp assert_apart(drawing) do
    labels =
      for [_, x, y, words] <-
            Regex.scan(
              ~r/<text class="" x="([^"]+)" y="([^"]+)" text-anchor="middle">([^<]*)/,
              drawing
            ) do
        {y, x |> Float.parse() |> elem(0), String.length(words) * 3.35}
      end

    for [{y, left, half}, {y, right, next_half}] <- Enum.chunk_every(labels, 2, 1, :discard),
        do: assert(left + half < right - next_half)
  end

  defp tips(drawing),
    do: for([_, tip] <- Regex.scan(~r/<title>([^<]*)<\/title>/, drawing), do: tip)

  defp count(tips, word) do
    Enum.sum(
      for tip <- tips,
          [_, n] = Regex.run(~r/([\d,]+) #{word}/, tip),
          do: n |> String.replace(",", "") |> String.to_integer()
    )
  end

  # Every rectangle lies inside of the drawing.
  defp assert_inside(drawing, %{left: left, right: right, top: top, bottom: bottom}) do
    refute drawing =~ ~r/NaN|inf/

    for [_, x, y, w, h] <-
          Regex.scan(
            ~r/<rect class="\w+" x="([^"]+)" y="([^"]+)" width="([^"]+)" height="([^"]+)"/,
            drawing
          ) do
      [x, y, w, h] = for text <- [x, y, w, h], do: text |> Float.parse() |> elem(0)
      assert x >= left - 0.1 and x + w <= right + 0.2
      assert y >= top - 3 and y + h <= bottom + 0.2
    end
  end

  test "the timeline has every request once, in at most 120 columns and one more" do
    :rand.seed(:exsss, 11)

    for count <- [1, 2, 119, 120, 121, 300], zone <- [0, 60, -210, 345] do
      verdict = verdict(columns(count, 60))
      {drawing, _width} = timeline(verdict, zone)
      tips = tips(drawing)
      assert length(tips) <= 121

      assert {count(tips, "admitted"), count(tips, "denied")} ==
               {verdict.admitted, verdict.denied}
    end
  end

  test "the width of a column is named, and joined columns are wider" do
    :rand.seed(:exsss, 12)
    assert {_, "1 min"} = timeline(verdict(columns(120, 60)))
    assert {_, "3 min"} = timeline(verdict(columns(300, 60)))
  end

  test "the labels of the time axis are on the clock of the zone" do
    :rand.seed(:exsss, 13)
    verdict = verdict(columns(120, 300), seconds: 300)
    assert elem(timeline(verdict, 0), 0) =~ ">02:00<"
    assert elem(timeline(verdict, 0), 0) =~ ">17 May<"
    # 00:00 UTC is 02:00 there, and the day began before the log.
    refute elem(timeline(verdict, 120), 0) =~ ">17 May<"
  end

  test "one denied request of a million can be seen" do
    {drawing, _} = timeline(verdict([{0, 1_000_000, 1}, {60, 1_000_000, 0}]))
    assert [[_, height]] = Regex.scan(~r/class="denied"[^>]*height="([^"]+)"/, drawing)
    assert elem(Float.parse(height), 0) >= 2.5
  end

  test "the hours have every request once, and the worst hour in words" do
    hours = for hour <- 0..23, do: {hour * 10, if(hour in [7, 9], do: 5, else: 1)}

    drawing =
      []
      |> Enum.concat([{0, 1, 0}])
      |> verdict(hours: hours)
      |> Charts.hours("h")
      |> broad()

    assert drawing =~ "Most requests were denied from 07:00 to 08:00: 5."
    assert {count(tips(drawing), "admitted"), count(tips(drawing), "denied")} == {2_760, 32}

    assert [{0, 1, 0}] |> verdict() |> Charts.hours("h") |> broad() =~
             "No request was denied."
  end

  test "the curve says the first limit that denies none, or that none does" do
    curve = [{5, 40, 90}, {10, 10, 20}, {20, 0, 0}, {40, 0, 0}]

    drawing = [{0, 180, 20}] |> verdict(curve: curve) |> Charts.curve("c") |> broad()

    assert drawing =~
             "5/min denies 40.0 % of clients at least once, and 45.0 % of requests. 20/min and more deny none."

    assert drawing =~ "judged: 10/min"
    assert drawing =~ ">5 %<"
    refute drawing =~ "of clients</text>"
    assert length(tips(drawing)) == 4

    drawing = [{0, 0, 1}] |> verdict(curve: [{10, 1, 1}]) |> Charts.curve("c") |> broad()

    assert drawing =~ "Every limit tried denies some."
  end

  test "the curve has a place for limits of any size" do
    for curve <- [
          [{10, 0, 0}],
          [{1, 9, 9}, {10, 1, 1}, {10_000_000_000, 0, 0}],
          for(limit <- 10..80, do: {limit, 80 - limit, 80 - limit})
        ] do
      drawing = [{0, 100, 9}] |> verdict(curve: curve) |> Charts.curve("c") |> broad()

      assert length(tips(drawing)) == length(curve)
    end
  end

  test "the curve has a line at each share of clients that a limit was searched for" do
    {:ok, limit} = LimitText.parse("20/min")
    verdict = verdict([{0, 180, 20}], curve: [{5, 40, 90}, {20, 0, 0}])
    drawing = broad(Charts.curve(%{verdict | smallest: [{0, limit}, {10_000, limit}]}, "c"))
    assert [_] = Regex.scan(~r/class="target"/, drawing)
    assert drawing =~ ">1 % of clients</text>"

    # Beyond the axis there is no place for it.
    drawing = broad(Charts.curve(%{verdict | smallest: [{900_000, limit}]}, "c"))
    refute drawing =~ "target"
  end
end
