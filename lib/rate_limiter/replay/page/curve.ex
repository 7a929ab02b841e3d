defmodule RateLimiter.Replay.Page.Curve do
  @moduledoc false
  # How the share denied falls as the limit rises: of ids ever denied, and of requests.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.Verdict
  alias RateLimiter.Terminal.{LimitText, Svg}

  @doc "The drawing. Limits stand on a logarithmic axis."
  @spec render(Verdict.t(), String.t()) :: iodata
  def render(%Verdict{curve: curve} = verdict, id) do
    box = Svg.box()

    shares =
      for {limit, ids, requests} <- curve,
          do: {limit, percent(ids, verdict.ids), percent(requests, verdict.requests)}

    ticks =
      shares
      |> Enum.map(fn {_, ids, requests} -> max(ids, requests) end)
      |> Enum.max()
      |> Svg.ticks()

    highest = List.last(ticks)
    x = scale(curve, box)
    y = &Svg.y(box, &1, highest)

    Svg.drawing(id, "The share denied as the limit rises", description(verdict), [
      Svg.rows(box, Enum.map(ticks, &{&1, "#{&1} %"}), highest),
      limits(curve, verdict, box, x),
      mark(verdict, box, x),
      plot("requests", for({limit, _, share} <- shares, do: {x.(limit), y.(share)})),
      plot("ids", for({limit, share, _} <- shares, do: {x.(limit), y.(share)})),
      tips(curve, verdict, box, x)
    ])
  end

  defp percent(_part, 0), do: 0.0
  defp percent(part, whole), do: part * 100 / whole

  defp scale(curve, box) do
    {lowest, _, _} = hd(curve)
    {highest, _, _} = List.last(curve)
    from = :math.log(lowest)
    # A lone limit stands at the left, on an axis that goes on.
    to = :math.log(max(highest, lowest * 2))
    &(box.left + 6 + (box.right - box.left - 30) * (:math.log(&1) - from) / (to - from))
  end

  defp plot(name, points) do
    path =
      Enum.map_join(points, " ", fn {x, y} ->
        "#{Float.round(x * 1.0, 1)},#{Float.round(y * 1.0, 1)}"
      end)

    [
      ~s(<polyline class="line-#{name}" points="#{path}"/>),
      for {x, y} <- points do
        ~s(<circle class="dot-#{name}" cx="#{Float.round(x * 1.0, 1)}" cy="#{Float.round(y * 1.0, 1)}" r="3"/>)
      end
    ]
  end

  # 1, 2, 5, 10, ...; only tens where there are many.
  defp limits(curve, verdict, box, x) do
    {lowest, _, _} = hd(curve)
    {highest, _, _} = List.last(curve)
    digits = if highest / lowest > 10_000, do: [1], else: [1, 2, 5]
    period = verdict.limit |> LimitText.rate_text() |> String.split("/") |> List.last()

    for power <- 0..18,
        digit <- digits,
        limit = digit * Integer.pow(10, power),
        limit in lowest..highest do
      at = x.(limit)

      [
        Svg.line("axis", at, box.bottom, at, box.bottom + 5),
        Svg.text(at, box.bottom + 20, "middle", "#{Numbers.number(limit)}/#{period}")
      ]
    end
  end

  # The limit that was judged, so that it can be found on the curve.
  defp mark(%Verdict{limit: limit}, box, x) do
    at = x.(limit.limit)
    {anchor, beside} = if at > (box.left + box.right) / 2, do: {"end", -6}, else: {"start", 6}

    [
      Svg.line("mark", at, box.top - 14, at, box.bottom),
      Svg.text(
        at + beside,
        box.top - 6,
        anchor,
        "judged: " <> LimitText.format(limit),
        "mark-text"
      )
    ]
  end

  # Each point answers from half-way to its neighbours.
  defp tips(curve, verdict, box, x) do
    places = Enum.map(curve, fn {limit, _, _} -> x.(limit) end)
    edges = [box.left | Enum.zip_with(places, tl(places), &((&1 + &2) / 2))] ++ [box.right]

    for {{{limit, ids, requests}, left}, right} <- curve |> Enum.zip(edges) |> Enum.zip(tl(edges)) do
      words =
        "#{LimitText.format(%{verdict.limit | limit: limit, burst: nil})}: " <>
          "#{Numbers.number(ids)} ids ever denied (#{Numbers.percent(ids, verdict.ids)}), " <>
          "#{Numbers.number(requests)} requests denied (#{Numbers.percent(requests, verdict.requests)})"

      Svg.rect("hover", left, box.top, right - left, box.bottom - box.top, Svg.tip(words))
    end
  end

  defp description(verdict) do
    {lowest, ids, requests} = hd(verdict.curve)

    "At #{LimitText.rate_text(%{verdict.limit | limit: lowest})} #{Numbers.percent(ids, verdict.ids)} of ids are denied " <>
      "at least once and #{Numbers.percent(requests, verdict.requests)} of requests. " <>
      none(verdict)
  end

  defp none(verdict) do
    case Enum.find(verdict.curve, fn {_, ids, _} -> ids == 0 end) do
      nil ->
        "No limit tried denies none."

      {limit, _, _} ->
        "From #{LimitText.rate_text(%{verdict.limit | limit: limit})} on none is denied."
    end
  end
end
