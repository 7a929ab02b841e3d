defmodule RateLimiter.Replay.Charts do
  @moduledoc false
  # The charts of a verdict: admitted and denied over time and by hour, and the share denied as the limit rises.

  alias RateLimiter.Core.{LimitText, Numbers}
  alias RateLimiter.Replay.Verdict
  alias RateLimiter.Terminal.Svg

  @columns 120

  # The labels of the axis of shares, in percent.
  @shares [0, 1, 5, 20, 50, 100]

  # Seconds between two labels of the time axis.
  @steps [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400] ++
           Enum.map([2, 5, 10, 30, 90, 365, 1_825], &(&1 * 86_400))

  ## Columns over time

  @doc "Returns the chart over time, on the clock of a zone, and the width of its columns in words."
  @spec timeline(Verdict.t(), integer, String.t()) :: {iodata, String.t()}
  def timeline(%Verdict{} = verdict, zone, id) do
    {width, columns} = joined(verdict.column_seconds, verdict.columns, zone)
    width_text = Numbers.span(width * 1_000_000_000)
    {first, _, _} = hd(columns)
    span = width * length(columns)

    description =
      "Columns of #{width_text}. In total #{Numbers.number(verdict.admitted)} admitted and " <>
        "#{Numbers.number(verdict.denied)} denied."

    draw = fn box ->
      x = fn second -> box.left + (box.right - box.left) * (second - first) / span end

      bars =
        for {start, admitted, denied} <- columns do
          {x.(start), x.(start + width), admitted, denied, Numbers.local(start, zone)}
        end

      [stacked(bars, box), time_axis(first, span, zone, box, x)]
    end

    {Svg.chart(id, "Admitted and denied over time", description, draw), width_text}
  end

  # The native replay returns up to 300 columns; neighbours are joined until a column is wide enough to see.
  defp joined(width, columns, zone) do
    wide = width * ceil(length(columns) / @columns)

    joined =
      columns
      |> Enum.chunk_by(fn {start, _, _} -> Integer.floor_div(start + zone * 60, wide) end)
      |> Enum.map(fn [{start, _, _} | _] = chunk ->
        {start - Integer.mod(start + zone * 60, wide), sum(chunk, 1), sum(chunk, 2)}
      end)

    {wide, joined}
  end

  defp sum(columns, at), do: columns |> Enum.map(&elem(&1, at)) |> Enum.sum()

  defp time_axis(first, span, zone, box, x) do
    labels = div(box.right - box.left, 70)
    step = Enum.find(@steps, List.last(@steps), &(span / &1 <= min(labels, 8)))
    start = first + Integer.mod(-first - zone * 60, step)

    for second <- start..(first + span)//step do
      at = x.(second)
      label = if at < box.right - 24, do: time_label(second + zone * 60, step)
      tick(box, at, label)
    end
  end

  defp time_label(local, step) do
    moment = DateTime.from_unix!(local)

    cond do
      step >= 300 * 86_400 -> Calendar.strftime(moment, "%Y")
      rem(local, 86_400) == 0 -> Calendar.strftime(moment, "%-d %b")
      step >= 60 -> Calendar.strftime(moment, "%H:%M")
      true -> Calendar.strftime(moment, "%H:%M:%S")
    end
  end

  ## Columns by hour

  @doc "Returns the chart by hour of the day."
  @spec hours(Verdict.t(), String.t()) :: iodata
  def hours(%Verdict{hours: hours}, id) do
    {{_, most}, hour} =
      hours |> Enum.with_index() |> Enum.max_by(fn {{_, n}, hour} -> {n, -hour} end)

    description =
      if most == 0,
        do: "No request was denied.",
        else:
          "Most requests were denied from #{Numbers.hour(hour)} to #{Numbers.hour(hour + 1)}: #{Numbers.number(most)}."

    Svg.chart(id, "By hour of the day", description, &day(hours, &1))
  end

  defp day(hours, box) do
    wide = (box.right - box.left) / 24

    bars =
      for {{admitted, denied}, hour} <- Enum.with_index(hours) do
        left = box.left + hour * wide
        moment = "#{Numbers.hour(hour)} to #{Numbers.hour(hour + 1)}"
        {left, left + wide, admitted, denied, moment}
      end

    labels =
      for hour <- 0..21//if(wide < 15, do: 6, else: 3),
          at = box.left + (hour + 0.5) * wide,
          do: Svg.text(at, box.bottom + 20, Numbers.hour(hour), "", "middle")

    [stacked(bars, box), labels]
  end

  ## Marks of one id

  @doc "Returns a row of marks, one for each column in which an id had requests; nothing if they were not kept."
  @spec marks(Verdict.top()) :: iodata
  def marks(%{marks: []}), do: []

  def marks(%{marks: marks} = id) do
    words = "#{Numbers.number(id.denied)} of #{Numbers.count(id.requests, "request")} denied"

    rects =
      for {{admitted, denied}, column} <- Enum.with_index(marks), admitted + denied > 0 do
        Svg.rect(if(denied > 0, do: "denied", else: "admitted"), column * 4, 0, 3, 8)
      end

    [
      ~s(<svg class="marks" viewBox="0 0 #{length(marks) * 4} 8" preserveAspectRatio="none" role="img" ),
      [~s(aria-label="), words, ~s(">), rects, "</svg>"]
    ]
  end

  # Columns of admitted requests with the denied ones on top.
  defp stacked(bars, box) do
    ticks = bars |> Enum.map(fn {_, _, a, d, _} -> a + d end) |> Enum.max() |> Svg.ticks()
    highest = List.last(ticks)

    [
      Svg.rows(box, Enum.map(ticks, &{&1, Numbers.number(&1)}), highest),
      Enum.map(bars, &bar(&1, box, highest))
    ]
  end

  defp bar({left, right, admitted, denied, moment}, box, highest) do
    # A gap between columns if there is room for one.
    gap = if right - left > 4, do: min(2, (right - left) / 8), else: 0
    wide = right - left - 2 * gap
    foot = Svg.y(box, admitted, highest)
    # One denied request of a thousand must be visible.
    head = if denied > 0, do: min(Svg.y(box, admitted + denied, highest), foot - 2.5), else: foot
    tip = "#{moment}: #{Numbers.number(admitted)} admitted, #{Numbers.number(denied)} denied"

    [
      Svg.rect("admitted", left + gap, foot, wide, box.bottom - foot),
      Svg.rect("denied", left + gap, head, wide, foot - head),
      Svg.rect("hover", left, box.top, right - left, box.bottom - box.top, Svg.tip(tip))
    ]
  end

  ## The curve

  @doc "Returns the chart of the share denied, with limits on a logarithmic axis."
  @spec curve(Verdict.t(), String.t()) :: iodata
  def curve(%Verdict{curve: curve} = verdict, id) do
    shares =
      for {limit, ids, requests} <- curve,
          do: {limit, percent(ids, verdict.ids), percent(requests, verdict.requests)}

    most = for({_, ids, requests} <- shares, do: max(ids, requests)) |> Enum.max() |> max(1)
    title = "The share denied as the limit rises"
    Svg.chart(id, title, description(verdict), &curve(verdict, shares, most, &1))
  end

  defp curve(verdict, shares, most, box) do
    {below, above} = Enum.split_while(@shares, &(&1 < most))
    ticks = below ++ Enum.take(above, 1)
    x = scale(verdict.curve, box)
    # A square root, since the shares that matter are small.
    y = &Svg.y(box, :math.sqrt(&1), :math.sqrt(List.last(ticks)))

    [
      Enum.map(ticks, &Svg.row(box, y.(&1), "#{&1} %")),
      limit_axis(verdict, box, x),
      targets(verdict, List.last(ticks), box, y),
      judged(verdict.limit, box, x),
      Svg.polyline("requests", for({limit, _, share} <- shares, do: {x.(limit), y.(share)})),
      Svg.polyline("ids", for({limit, share, _} <- shares, do: {x.(limit), y.(share)})),
      tips(verdict, box, x)
    ]
  end

  # The shares of clients for which the smallest limit was searched.
  defp targets(%Verdict{smallest: smallest}, highest, box, y) do
    for {ppm, _limit} <- smallest, ppm > 0, ppm <= highest * 10_000 do
      at = y.(ppm / 10_000)

      [
        Svg.line("target", box.left, at, box.right, at),
        Svg.text(box.left + 6, at - 5, "#{Numbers.ppm(ppm)} of clients", "mark-text")
      ]
    end
  end

  defp percent(_part, 0), do: 0.0
  defp percent(part, whole), do: part * 100 / whole

  defp scale(curve, box) do
    {lowest, _, _} = hd(curve)
    {highest, _, _} = List.last(curve)
    from = :math.log(lowest)
    # A single limit stands at the left.
    to = :math.log(max(highest, lowest * 2))
    &(box.left + 6 + (box.right - box.left - 30) * (:math.log(&1) - from) / (to - from))
  end

  # 1, 2, 5, 10, ... as far as there is room for the labels, or else powers of ten.
  defp limit_axis(%Verdict{curve: curve} = verdict, box, x) do
    {lowest, _, _} = hd(curve)
    {highest, _, _} = List.last(curve)
    decade = x.(lowest * 10) - x.(lowest)
    digits = if decade < 190, do: [1], else: [1, 2, 5]

    for power <- 0..18//ceil(60 / decade),
        digit <- digits,
        limit = digit * Integer.pow(10, power),
        limit in lowest..highest,
        do: tick(box, x.(limit), rate(verdict, limit))
  end

  # The mark of the limit that was judged.
  defp judged(limit, box, x) do
    at = x.(limit.limit)
    {anchor, beside} = if at > (box.left + box.right) / 2, do: {"end", -6}, else: {"start", 6}
    text = "judged: " <> LimitText.rate_text(limit)

    [
      Svg.line("mark", at, box.top - 14, at, box.bottom),
      Svg.text(at + beside, box.top - 6, text, "mark-text", anchor)
    ]
  end

  # The area of a point reaches half-way to its neighbours.
  defp tips(%Verdict{curve: curve} = verdict, box, x) do
    places = Enum.map(curve, fn {limit, _, _} -> x.(limit) end)
    edges = [box.left | Enum.zip_with(places, tl(places), &((&1 + &2) / 2))] ++ [box.right]

    for {{point, left}, right} <- curve |> Enum.zip(edges) |> Enum.zip(tl(edges)) do
      {limit, ids, requests} = point

      tip =
        "#{LimitText.format(%{verdict.limit | limit: limit, burst: nil})}: " <>
          "#{Numbers.number(ids)} clients denied (#{Numbers.percent(ids, verdict.ids)}), " <>
          "#{Numbers.number(requests)} requests denied (#{Numbers.percent(requests, verdict.requests)})"

      Svg.rect("hover", left, box.top, right - left, box.bottom - box.top, Svg.tip(tip))
    end
  end

  defp description(verdict) do
    {lowest, ids, requests} = hd(verdict.curve)

    "#{rate(verdict, lowest)} denies #{Numbers.percent(ids, verdict.ids)} of clients at least once, and " <>
      "#{Numbers.percent(requests, verdict.requests)} of requests. #{none_denied(verdict)}"
  end

  defp none_denied(verdict) do
    case Enum.find(verdict.curve, fn {_, ids, _} -> ids == 0 end) do
      nil -> "Every limit tried denies some."
      {limit, _, _} -> "#{rate(verdict, limit)} and more deny none."
    end
  end

  defp rate(verdict, limit), do: LimitText.rate_text(%{verdict.limit | limit: limit})

  defp tick(box, at, label) do
    text = if label, do: Svg.text(at, box.bottom + 20, label, "", "middle"), else: []
    [Svg.line("axis", at, box.bottom, at, box.bottom + 5), text]
  end
end
