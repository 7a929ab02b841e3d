defmodule RateLimiter.Replay.Table do
  @moduledoc false
  # A report for a terminal of 80 columns.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.{Report, Verdict}
  alias RateLimiter.Replay.Table.{Hours, Notes}
  alias RateLimiter.Terminal.{LimitText, Screen, Text}

  import RateLimiter.Terminal.Screen, only: [style: 3, right: 2]
  import RateLimiter.Core.Numbers, only: [number: 1, percent: 2]
  import RateLimiter.Terminal.Text, only: [fit: 2]

  @top_id 34
  @steps 9

  @doc "The whole report."
  @spec render(Report.t(), Screen.t()) :: IO.chardata()
  def render(%Report{} = report, screen) do
    [
      heading(report, screen),
      Notes.render(report, screen),
      if(report.input.requests > 0, do: verdicts(report, screen), else: [])
    ]
  end

  defp verdicts(report, screen),
    do: [overview(report, screen), Enum.map(report.verdicts, &verdict(&1, report, screen))]

  defp heading(%Report{input: input} = report, screen) do
    who =
      "#{Numbers.count(input.requests, "request")} by #{Numbers.count(input.ids, "id")} (#{Enum.join(report.by, ", ")})"

    ["\n", style(screen, :bold, who), logs(report.logs, Text.width(who)), "\n", span(input)]
  end

  defp logs([{name, _}], taken) do
    name = Text.visible(name)
    room = Screen.columns() - 4 - taken

    [
      " in ",
      Text.at_most(if(Text.width(name) > room, do: Path.basename(name), else: name), room)
    ]
  end

  defp logs(logs, _taken), do: " in #{length(logs)} logs"

  defp span(%{first: nil}), do: []

  defp span(%{first: {first, _}, last: {last, _}, zone_minutes: zone} = input) do
    from = first |> div(1_000_000_000) |> Numbers.local(zone)
    to = last |> div(1_000_000_000) |> Numbers.moment(zone)
    mixed = if input.mixed_zones, do: " (and other zones)", else: ""
    ["#{from} to #{to}#{mixed}, ", Numbers.about(last - first), "\n"]
  end

  # Of one limit its own section says it all.
  defp overview(%Report{verdicts: [_]}, _screen), do: []

  defp overview(%Report{verdicts: verdicts} = report, screen) do
    titles = ["  ", fit("limit", 28), right("denied", 17), right("ids ever denied", 17)]
    last = if report.fitted, do: right("denies no id", 14), else: []

    [
      "\n",
      style(screen, :faint, [titles, last]),
      "\n",
      Enum.map(verdicts, fn verdict ->
        [
          "  ",
          verdict.limit |> LimitText.format() |> fit(28),
          counted(screen, verdict.denied, verdict.requests, 9),
          counted(screen, verdict.ids_denied, verdict.ids, 9),
          if(report.fitted, do: right(fitting(verdict), 14), else: []),
          "\n"
        ]
      end)
    ]
  end

  defp fitting(%Verdict{smallest: [{_share, nil} | _]}), do: "none"
  defp fitting(%Verdict{smallest: [{_share, limit} | _]}), do: LimitText.rate_text(limit)
  defp fitting(_verdict), do: "-"

  defp verdict(%Verdict{} = verdict, report, screen) do
    [
      "\n",
      Screen.rule(screen, title(verdict)),
      "\n",
      totals(verdict, screen),
      smallest(verdict, screen),
      top(verdict, screen),
      Hours.render(verdict, report.input, screen),
      others(verdict, screen)
    ]
  end

  defp title(%Verdict{limit: limit}),
    do: "#{LimitText.format(limit)}   #{LimitText.kind(limit)}"

  defp totals(verdict, screen) do
    [
      row(
        "requests",
        verdict.requests,
        "admitted",
        verdict.admitted,
        "denied",
        verdict.denied,
        screen
      ),
      row(
        "ids",
        verdict.ids,
        "never denied",
        verdict.ids - verdict.ids_denied,
        "ever denied",
        verdict.ids_denied,
        screen
      )
    ]
  end

  defp row(name, whole, good, good_count, bad, bad_count, screen) do
    [
      "  ",
      fit(name, 9),
      right(number(whole), 11),
      right(good, 14),
      right(number(good_count), 11),
      right(bad, 13),
      counted(screen, bad_count, whole, 11),
      "\n"
    ]
  end

  defp smallest(%Verdict{smallest: []}, _screen), do: []

  defp smallest(%Verdict{smallest: smallest} = verdict, screen) do
    rows =
      for {{share, limit}, index} <- Enum.with_index(smallest) do
        name = if index == 0, do: "smallest limit", else: ""

        [
          "  ",
          fit(name, 16),
          fit(denies(share), 36),
          style(screen, :bold, found(limit, verdict)),
          "\n"
        ]
      end

    ["\n", rows]
  end

  # The details of a long limit are those of the title.
  defp found(nil, verdict), do: "none that #{verdict.limit.algorithm} can keep"

  defp found(limit, _verdict) do
    room = Screen.columns() - 54
    text = LimitText.format(limit)
    if Text.width(text) <= room, do: text, else: Text.at_most(LimitText.rate_text(limit), room)
  end

  defp denies(0), do: "that denies no id"
  defp denies(share), do: "that denies at most #{Numbers.ppm(share)} of ids"

  defp top(%Verdict{top: []}, _screen), do: []

  defp top(%Verdict{top: top}, screen) do
    titles = [
      "  ",
      fit("most denied", @top_id),
      right("requests", 10),
      right("denied", 10),
      right("share", 9)
    ]

    [
      "\n",
      style(screen, :faint, [titles, right("longest wait", 15)]),
      "\n",
      Enum.map(top, fn id ->
        [
          "  ",
          id.id |> Report.id_text() |> fit(@top_id),
          right(number(id.requests), 10),
          style(screen, :red, right(number(id.denied), 10)),
          right(percent(id.denied, id.requests), 9),
          right(Numbers.span(id.longest_wait_ns), 15),
          "\n"
        ]
      end)
    ]
  end

  defp others(%Verdict{curve: []}, _screen), do: []

  defp others(%Verdict{} = verdict, screen) do
    titles = [
      "  ",
      fit("other limits", 16),
      right("ids ever denied", 20),
      right("requests denied", 20)
    ]

    [
      "\n",
      style(screen, :faint, titles),
      "\n",
      verdict |> steps() |> Enum.map(&step(&1, verdict, screen))
    ]
  end

  defp step({limit, ids, requests}, verdict, screen) do
    name = LimitText.rate_text(%{verdict.limit | limit: limit})

    name =
      if limit == verdict.limit.limit,
        do: style(screen, :bold, fit(name, 16)),
        else: fit(name, 16)

    [
      [
        "  ",
        name,
        counted(screen, ids, verdict.ids, 11),
        counted(screen, requests, verdict.requests, 11)
      ],
      if(ids > 0,
        do: ["  ", style(screen, :red, Screen.bar(screen, ids, verdict.ids, 19))],
        else: []
      ),
      "\n"
    ]
  end

  # A few of the curve's points over its whole range, and always those that are spoken of above.
  defp steps(%Verdict{curve: curve} = verdict) do
    named = [verdict.limit.limit | for({_share, %{limit: limit}} <- verdict.smallest, do: limit)]
    last = length(curve) - 1
    spread = MapSet.new(0..(@steps - 1), &round(&1 * last / (@steps - 1)))

    for {{limit, _, _} = point, index} <- Enum.with_index(curve),
        index in spread or limit in named,
        do: point
  end

  defp counted(screen, part, whole, columns) do
    text = [right(number(part), columns), right(percent(part, whole), 9)]
    if part > 0, do: style(screen, :red, text), else: text
  end
end
