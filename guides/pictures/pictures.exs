defmodule Guides.Pictures do
  # The pictures of limits.md: the same arrivals through several windows, one under the other.
  @moduledoc false

  import Guides.Svg
  alias Guides.Traffic

  @limit 10
  @per_ms 10_000
  @base [limit: @limit, per: {10, :second}]

  @algorithms [
    {"token_bucket", "holds 10, refills 1 a second", [algorithm: :token_bucket]},
    {"sliding_window", "10 sub-windows of 1 s", [algorithm: :sliding_window]},
    {"sliding_log", "a stamp for each unit", [algorithm: :sliding_log]},
    {"fixed_window", "aligned to the clock", [algorithm: :fixed_window]},
    {"fixed_window", "aligned: false", [algorithm: :fixed_window, aligned: false]}
  ]

  @bursts for burst <- [1, 5, 10, 20],
              do:
                {"burst: #{burst}", "refills 1 a second",
                 [algorithm: :token_bucket, burst: burst]}

  @width 880
  @left 208
  @right 860
  @head 100
  @panel 142
  @lanes {14, 29}
  @chart {46, 118}

  @doc "Returns every picture as `{file, content}`."
  def all do
    [
      {"steady.svg",
       picture("A steady stream at twice the limit", @algorithms, Traffic.steady(), 36_000)},
      {"boundary.svg",
       picture(
         "A burst across the boundaries of fixed windows",
         @algorithms,
         Traffic.across_a_boundary(),
         26_000
       )},
      {"idle.svg",
       picture(
         "A burst after idling, then a trickle",
         @algorithms,
         Traffic.after_idling(),
         44_000
       )},
      {"burst.svg",
       picture("What :burst does to a token bucket", @bursts, Traffic.after_idling(), 44_000)}
    ]
  end

  defp picture(title, rows, arrivals, span_ms) do
    panels =
      for {name, note, window} <- rows do
        judged = Traffic.run(@base ++ window, arrivals)
        totals = Traffic.totals(judged, @per_ms)

        %{
          name: name,
          note: note,
          judged: judged,
          totals: totals,
          peak: peak(totals),
          starts: starts(window, judged, span_ms)
        }
      end

    scale = %{span: span_ms, highest: 10 * ceil(Enum.max(Enum.map(panels, & &1.peak)) / 10)}
    height = @head + @panel * length(panels) + 14

    drawing(@width, height, title, description(panels), [
      text(20, 32, title, "title"),
      text(
        20,
        53,
        "The limit is 10 in 10 seconds. Every row gets the same #{length(arrivals)} calls of one id.",
        "soft"
      ),
      legend(20, 78),
      if(Enum.any?(panels, &(&1.starts != [])), do: window_legend(670, 78), else: []),
      panels
      |> Enum.with_index()
      |> Enum.map(fn {panel, at} -> panel(panel, @head + at * @panel, scale) end)
    ])
  end

  defp legend(x, y) do
    [
      dots([{x + 4, y - 4}]),
      text(x + 12, y, "admitted", "soft small"),
      crosses([{x + 86, y - 4}]),
      text(x + 94, y, "denied", "soft small"),
      rect("total", x + 154, y - 9, 12, 9),
      text(x + 172, y, "admitted in the last 10 seconds", "soft small"),
      rect("over", x + 386, y - 9, 12, 9),
      text(x + 404, y, "of it above the limit", "soft small"),
      line("limit", x + 546, y - 4, x + 570, y - 4),
      text(x + 577, y, "the limit", "soft small")
    ]
  end

  defp window_legend(x, y) do
    [
      line("window", x, y - 12, x, y + 2),
      text(x + 7, y, "a fixed window begins", "soft small")
    ]
  end

  defp panel(panel, top, scale) do
    {admitted_at, denied_at} = @lanes
    {chart_top, chart_bottom} = @chart
    {admitted, denied} = Enum.split_with(panel.judged, &elem(&1, 1))
    points = fn judged, y -> for {at, _} <- judged, do: {x(at, scale), top + y} end

    [
      text(20, top + 22, panel.name, "name"),
      text(20, top + 40, panel.note, "soft small"),
      text(20, top + 66, "admits #{length(admitted)} of #{length(panel.judged)}"),
      text(20, top + 84, "peak: #{panel.peak} in 10 s"),
      rect("plot", @left, top + 4, @right - @left, chart_bottom - 4),
      grid(top, scale),
      for(at <- panel.starts, do: mark(x(at, scale), top, chart_bottom)),
      dots(points.(admitted, admitted_at)),
      crosses(points.(denied, denied_at)),
      totals(panel.totals, top, scale),
      line("base", @left, top + chart_bottom, @right, top + chart_bottom),
      line("limit", @left, y(@limit, top, scale), @right, y(@limit, top, scale)),
      text(@left - 8, y(@limit, top, scale) + 4, "10", "small", "end"),
      text(@left - 8, top + chart_top + 4, "#{scale.highest}", "soft small", "end")
    ]
  end

  defp mark(x, top, bottom), do: line("window", x, top + 4, x, top + bottom)

  # Seconds under every chart, so that each row can be read alone.
  defp grid(top, scale) do
    {_top, bottom} = @chart

    for second <- 0..div(scale.span, 1_000)//5 do
      x = x(second * 1_000, scale)
      words = if second == 0, do: "0 s", else: "#{second}"

      [
        line("grid", x, top + 4, x, top + bottom),
        text(x, top + bottom + 14, words, "soft small", "middle")
      ]
    end
  end

  # The area under the running total, and its part above the limit.
  defp totals(totals, top, scale) do
    steps = steps(totals, scale.span)

    shape = fn least ->
      for {at, total} <- steps, do: {x(at, scale), y(max(total, least), top, scale)}
    end

    close = fn points, least ->
      points ++ [{@right, y(least, top, scale)}, {@left, y(least, top, scale)}]
    end

    [
      area("total", close.(shape.(0), 0)),
      if(Enum.any?(steps, fn {_at, total} -> total > @limit end),
        do: area("over", close.(shape.(@limit), @limit)),
        else: []
      )
    ]
  end

  defp steps(totals, span) do
    {points, last} =
      totals
      |> Enum.take_while(fn {at, _total} -> at <= span end)
      |> Enum.flat_map_reduce(0, fn {at, total}, before ->
        {[{at, before}, {at, total}], total}
      end)

    [{0, 0} | points] ++ [{span, last}]
  end

  # The beginnings of fixed windows, computed from their definition.
  defp starts([algorithm: :fixed_window], _judged, span_ms),
    do: Enum.to_list(0..(span_ms - 1)//@per_ms)

  defp starts([algorithm: :fixed_window, aligned: false], judged, _span_ms) do
    for({at, true} <- judged, do: at)
    |> Enum.reduce([], fn
      at, [start | _] = starts when at < start + @per_ms -> starts
      at, starts -> [at | starts]
    end)
    |> Enum.reverse()
  end

  defp starts(_window, _judged, _span_ms), do: []

  defp peak(totals), do: totals |> Enum.map(&elem(&1, 1)) |> Enum.max()

  defp description(panels) do
    Enum.map_join(panels, "; ", fn panel ->
      admitted = Enum.count(panel.judged, &elem(&1, 1))

      "#{panel.name}, #{panel.note}: admits #{admitted} of #{length(panel.judged)}, peak: #{panel.peak} in 10 s"
    end)
  end

  defp x(ms, scale), do: @left + (@right - @left) * ms / scale.span

  defp y(total, top, scale) do
    {chart_top, chart_bottom} = @chart
    top + chart_bottom - (chart_bottom - chart_top) * total / scale.highest
  end
end
