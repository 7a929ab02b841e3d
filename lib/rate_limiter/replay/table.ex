defmodule RateLimiter.Replay.Table do
  @moduledoc false
  # A report for a terminal of 80 columns.

  alias RateLimiter.Core.{LimitText, Numbers}
  alias RateLimiter.Replay.{Notes, Report, Verdict}
  alias RateLimiter.Terminal.{Screen, Text}

  import RateLimiter.Core.Numbers, only: [number: 1, percent: 2]
  import RateLimiter.Terminal.Screen, only: [style: 3, right: 2]
  import RateLimiter.Terminal.Text, only: [fit: 2]

  @id_columns 34
  @hours_label 12
  @steps 9

  @doc "Returns the whole report."
  @spec render(Report.t(), Screen.t()) :: IO.chardata()
  def render(%Report{} = report, screen) do
    [
      heading(report, screen),
      notes(Notes.notes(report), screen),
      if(report.input.requests > 0, do: verdicts(report, screen), else: [])
    ]
  end

  defp heading(%Report{input: input} = report, screen) do
    scope =
      "#{Numbers.count(input.requests, "request")} by #{Numbers.count(input.ids, "client")} " <>
        "(#{Enum.join(report.by, ", ")})"

    ["\n", style(screen, :bold, scope), logs(report.logs, Text.width(scope)), "\n", span(input)]
  end

  defp logs([{name, _}], taken) do
    name = Text.visible(name)
    room = Screen.columns() - 4 - taken
    name = if Text.width(name) > room, do: Path.basename(name), else: name
    [" in ", Text.at_most(name, room)]
  end

  defp logs(logs, _taken), do: " in #{length(logs)} logs"

  defp span(%{first: nil}), do: []

  defp span(%{first: {first, _}, last: {last, _}, zone_minutes: zone} = input) do
    from = first |> div(1_000_000_000) |> Numbers.local(zone)
    to = last |> div(1_000_000_000) |> Numbers.moment(zone)
    mixed = if input.mixed_zones, do: " (and other zones)", else: ""
    ["#{from} to #{to}#{mixed}, ", Numbers.about(last - first), "\n"]
  end

  ## Notes

  defp notes([], _screen), do: []

  defp notes(notes, screen) do
    ["\n" | Enum.map(notes, &note(&1, screen))]
  end

  defp note({note, lines}, screen) do
    text = note |> Text.wrap(Screen.columns() - 4) |> Enum.intersperse("\n  ")
    [style(screen, :yellow, ["  ", text]), "\n", Enum.map(lines, &broken(&1, screen))]
  end

  defp broken({where, reason, text}, screen) do
    [
      ["    ", Text.at_most("#{where}  #{reason}", Screen.columns() - 4), "\n"],
      style(screen, :faint, ["      ", Text.at_most(text, Screen.columns() - 6)]),
      "\n"
    ]
  end

  ## All limits

  defp verdicts(%Report{verdicts: [verdict]} = report, screen),
    do: verdict(verdict, report, screen)

  defp verdicts(%Report{verdicts: verdicts} = report, screen) do
    titles = ["  ", fit("limit", 24), right("requests denied", 18), right("clients denied", 18)]
    smallest = if report.fitted, do: right("denies no client", 18), else: []

    rows =
      for verdict <- verdicts do
        [
          "  ",
          verdict.limit |> LimitText.format() |> fit(24),
          counted(screen, verdict.denied, verdict.requests, 9),
          counted(screen, verdict.ids_denied, verdict.ids, 9),
          if(report.fitted, do: right(fitting(verdict), 18), else: []),
          "\n"
        ]
      end

    [
      ["\n", style(screen, :faint, [titles, smallest]), "\n", rows],
      Enum.map(verdicts, &verdict(&1, report, screen))
    ]
  end

  defp fitting(%Verdict{smallest: [{_share, nil} | _]}), do: "none"
  defp fitting(%Verdict{smallest: [{_share, limit} | _]}), do: LimitText.rate_text(limit)
  defp fitting(_verdict), do: "-"

  ## One limit

  defp verdict(%Verdict{limit: limit} = verdict, report, screen) do
    [
      "\n",
      Screen.rule(screen, "#{LimitText.format(limit)}   #{LimitText.kind(limit)}"),
      "\n",
      totals("requests", "admitted", "denied", verdict.requests, verdict.denied, screen),
      totals("clients", "never denied", "denied", verdict.ids, verdict.ids_denied, screen),
      smallest(verdict, screen),
      top(verdict, screen),
      hours(verdict, report.input, screen),
      others(verdict, screen)
    ]
  end

  defp totals(name, good, bad, whole, denied, screen) do
    [
      ["  ", fit(name, 9), right(number(whole), 11)],
      [right(good, 14), right(number(whole - denied), 11)],
      [right(bad, 13), counted(screen, denied, whole, 11)],
      "\n"
    ]
  end

  defp smallest(%Verdict{smallest: []}, _screen), do: []

  defp smallest(%Verdict{smallest: smallest} = verdict, screen) do
    rows =
      for {{share, limit}, index} <- Enum.with_index(smallest) do
        name = if index == 0, do: "smallest limit", else: ""
        text = style(screen, :bold, found(limit, verdict))
        ["  ", fit(name, 16), fit(denies(share), 38), text, "\n"]
      end

    ["\n", rows]
  end

  # A text that does not fit is cut to its rate: the title has the rest.
  defp found(nil, verdict), do: "#{verdict.limit.algorithm} has none"

  defp found(limit, _verdict) do
    room = Screen.columns() - 56
    text = LimitText.format(limit)
    if Text.width(text) <= room, do: text, else: Text.at_most(LimitText.rate_text(limit), room)
  end

  defp denies(0), do: "that denies no client"
  defp denies(share), do: "that denies at most #{Numbers.ppm(share)} of clients"

  defp top(%Verdict{top: []}, _screen), do: []

  defp top(%Verdict{top: top}, screen) do
    titles = [
      ["  ", fit("most denied", @id_columns)],
      [right("requests", 10), right("denied", 10), right("share", 9), right("longest wait", 15)]
    ]

    rows =
      for id <- top do
        [
          ["  ", id.id |> Report.id_text() |> fit(@id_columns)],
          right(number(id.requests), 10),
          style(screen, :red, right(number(id.denied), 10)),
          right(percent(id.denied, id.requests), 9),
          right(Numbers.span(id.longest_wait_ns), 15),
          "\n"
        ]
      end

    ["\n", style(screen, :faint, titles), "\n", rows]
  end

  ## By hour: two rows of small bars

  defp hours(%Verdict{denied: 0}, _input, _screen), do: []

  defp hours(%Verdict{hours: hours}, input, screen) do
    requests = Enum.map(hours, fn {admitted, denied} -> admitted + denied end)
    denied = Enum.map(hours, fn {_admitted, denied} -> denied end)
    scale = Enum.map_join(0..21//3, "    ", &Numbers.two_digits/1)

    [
      ["\n", style(screen, :faint, ["  ", fit("by hour", @hours_label), scale]), "\n"],
      ["  ", fit("requests", @hours_label), bars(requests, screen), "\n"],
      ["  ", fit("denied", @hours_label), style(screen, :red, bars(denied, screen)), "\n"],
      ["  ", fit("", @hours_label), busiest(denied), " (", zone(input), ")\n"]
    ]
  end

  defp bars(values, screen) do
    highest = Enum.max(values)
    Enum.map(values, &String.duplicate(Screen.height(screen, &1, highest), 2))
  end

  defp busiest(denied) do
    {most, hour} =
      denied |> Enum.with_index() |> Enum.max_by(fn {count, hour} -> {count, -hour} end)

    "most from #{Numbers.hour(hour)} to #{Numbers.hour(hour + 1)}: #{number(most)} of #{number(Enum.sum(denied))}"
  end

  defp zone(%{mixed_zones: true}), do: "each line's own zone"
  defp zone(%{zone_minutes: zone}), do: Numbers.zone(zone)

  ## Other limits

  defp others(%Verdict{curve: []}, _screen), do: []

  defp others(%Verdict{} = verdict, screen) do
    titles = [
      "  ",
      fit("other limits", 16),
      right("clients denied", 20),
      right("requests denied", 20)
    ]

    rows = verdict |> steps() |> Enum.map(&step(&1, verdict, screen))
    ["\n", style(screen, :faint, titles), "\n", rows]
  end

  defp step({limit, ids, requests}, verdict, screen) do
    name = fit(LimitText.rate_text(%{verdict.limit | limit: limit}), 16)
    bar = style(screen, :red, Screen.bar(screen, ids, verdict.ids, 19))

    [
      ["  ", if(limit == verdict.limit.limit, do: style(screen, :bold, name), else: name)],
      counted(screen, ids, verdict.ids, 11),
      counted(screen, requests, verdict.requests, 11),
      if(ids > 0, do: ["  ", bar], else: []),
      "\n"
    ]
  end

  # Points over the whole range of the curve, and always the limits named above.
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
