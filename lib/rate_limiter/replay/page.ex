defmodule RateLimiter.Replay.Page do
  @moduledoc false
  # A report as one HTML page that needs nothing else: no script, no font, no image, no network.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.{Report, Verdict}
  alias RateLimiter.Replay.Page.{Curve, Day, Timeline}
  alias RateLimiter.Replay.Table.Notes
  alias RateLimiter.Terminal.{Html, LimitText, Text}

  import RateLimiter.Terminal.Html, only: [escape: 1]

  @doc "The whole page."
  @spec render(Report.t()) :: iodata
  def render(%Report{} = report) do
    Html.page(title(report), "", [
      heading(report),
      notes(report),
      overview(report),
      report.verdicts |> Enum.with_index() |> Enum.map(&section(&1, report)),
      footer(report)
    ])
  end

  defp title(report), do: "What these limits would have done to #{names(report)}"

  defp names(%Report{logs: [{name, _}]}), do: name |> Path.basename() |> Text.visible()
  defp names(%Report{logs: logs}), do: "#{length(logs)} logs"

  defp heading(%Report{input: input} = report) do
    [
      ["<header>\n<h1>", escape(title(report)), "</h1>\n"],
      [
        "<p>",
        Numbers.count(input.requests, "request"),
        " by ",
        Numbers.count(input.ids, "id"),
        " ("
      ],
      [escape(Enum.join(report.by, ", ")), ")", span(input), "</p>\n</header>\n"]
    ]
  end

  defp span(%{first: nil}), do: ""

  defp span(%{first: {first, _}, last: {last, _}, zone_minutes: zone}) do
    ", #{Numbers.local(div(first, 1_000_000_000), zone)} to #{Numbers.moment(div(last, 1_000_000_000), zone)} " <>
      "(#{Numbers.about(last - first)})"
  end

  defp notes(report) do
    case Notes.notes(report) do
      [] ->
        []

      notes ->
        [
          ~s(<div class="notes">\n),
          for {note, lines} <- notes do
            [
              ["<p>", escape(note), "</p>\n"],
              for(
                {where, reason, text} <- lines,
                do: ["<pre>", escape("#{where}  #{reason}\n#{text}"), "</pre>\n"]
              )
            ]
          end,
          "</div>\n"
        ]
    end
  end

  defp overview(%Report{verdicts: [_]}), do: []

  defp overview(%Report{verdicts: verdicts} = report) do
    rows =
      for {verdict, index} <- Enum.with_index(verdicts) do
        [
          {:raw,
           [
             ~s(<a href="#limit-#{index + 1}"><code>),
             breakable(LimitText.format(verdict.limit)),
             "</code></a>"
           ]},
          {:bad, verdict.denied, counted(verdict.denied, verdict.requests)},
          {:bad, verdict.ids_denied, counted(verdict.ids_denied, verdict.ids)}
        ] ++
          for(
            {_share, limit} <- verdict.smallest,
            do: if(limit, do: LimitText.short(limit), else: "none")
          )
      end

    smallest = for {share, _} <- hd(verdicts).smallest, do: "fits #{share_words(share)}"

    [
      ~s(<div class="panel wide">\n),
      table(["limit", "denied", "ids ever denied"] ++ smallest, rows, report),
      "</div>\n"
    ]
  end

  defp share_words(0), do: "all ids"
  defp share_words(ppm), do: "all but #{Numbers.ppm(ppm)}"

  defp section({%Verdict{} = verdict, index}, report) do
    id = "limit-#{index + 1}"

    [
      [~s(<section id="#{id}">\n<h2><code>), escape(LimitText.format(verdict.limit)), "</code>"],
      ["<small>", escape(LimitText.kind(verdict.limit)), "</small></h2>\n"],
      tiles(verdict),
      if(verdict.requests > 0, do: figures(verdict, report, id), else: []),
      top(verdict, report),
      "</section>\n"
    ]
  end

  defp tiles(verdict) do
    [
      ~s(<div class="tiles">\n),
      tile("requests denied", verdict.denied, verdict.requests),
      tile("ids ever denied", verdict.ids_denied, verdict.ids),
      for {share, limit} <- verdict.smallest, verdict.requests > 0 do
        name =
          if share == 0,
            do: "smallest limit that denies no id",
            else: "that denies at most #{Numbers.ppm(share)} of ids"

        [
          ~s(<div class="tile"><b>),
          breakable(found(limit)),
          ~s(</b><span class="soft">),
          name,
          "</span></div>\n"
        ]
      end,
      "</div>\n"
    ]
  end

  # A long limit breaks at its colons.
  defp breakable(text),
    do: text |> escape() |> IO.iodata_to_binary() |> String.replace(":", ":<wbr>")

  defp tile(name, part, whole) do
    class = if part > 0, do: ~s( class="bad"), else: ""

    [
      ~s(<div class="tile"><b#{class}>#{Numbers.percent(part, whole) |> escape()}</b>),
      ~s(<span class="soft">#{name}: #{Numbers.number(part)} of #{Numbers.number(whole)}</span></div>\n)
    ]
  end

  defp figures(verdict, %Report{input: %{zone_minutes: zone} = input}, id) do
    [
      figure(
        "Admitted and denied over time",
        "Each column is #{Timeline.width_words(verdict, zone)}, times are #{Numbers.zone(zone)}.",
        ~w(admitted denied),
        [
          Timeline.render(verdict, zone, "#{id}-time")
        ]
      ),
      if(verdict.curve != [], do: curve(verdict, id), else: []),
      figure(
        "By hour of the day",
        "On the clock that the log was written by (#{day_zone(input)}).",
        ~w(admitted denied),
        [
          Day.render(verdict, "#{id}-day")
        ]
      )
    ]
  end

  defp day_zone(%{mixed_zones: true}), do: "more than one zone"
  defp day_zone(%{zone_minutes: zone}), do: Numbers.zone(zone)

  defp curve(verdict, id) do
    rows =
      for {limit, ids, requests} <- verdict.curve do
        [
          LimitText.rate_text(%{verdict.limit | limit: limit}),
          counted(ids, verdict.ids),
          counted(requests, verdict.requests)
        ]
      end

    [
      ~s(<figure>\n<h3>How the share denied falls as the limit rises</h3>\n),
      ~s(<div class="legend"><span class="key-denied">ids ever denied</span>),
      ~s(<span class="key-requests">requests denied</span></div>\n),
      Curve.render(verdict, "#{id}-curve"),
      [
        "<figcaption>Each point is a limit tried on the whole log",
        burst_follows(verdict),
        ".</figcaption>\n"
      ],
      "<details><summary>As a table</summary>\n",
      table(["limit", "ids ever denied", "requests denied"], rows, nil),
      "</details>\n</figure>\n"
    ]
  end

  defp burst_follows(%Verdict{limit: limit}),
    do: if(RateLimiter.Core.Limit.burst(limit), do: ", its burst in proportion", else: "")

  defp figure(title, caption, keys, content) do
    [
      ["<figure>\n<h3>", title, ~s(</h3>\n<div class="legend">)],
      for(key <- keys, do: ~s(<span class="key-#{key}">#{key}</span>)),
      ["</div>\n", content, "\n<figcaption>", escape(caption), "</figcaption>\n</figure>\n"]
    ]
  end

  defp top(%Verdict{top: []}, _report), do: []

  defp top(%Verdict{top: top}, report) do
    rows =
      for id <- top do
        [
          {:raw,
           ["<code>", id.id |> Report.id_text() |> Text.at_most(160) |> escape(), "</code>"]},
          Numbers.number(id.requests),
          {:bad, id.denied, Numbers.number(id.denied)},
          Numbers.percent(id.denied, id.requests),
          Numbers.span(id.longest_wait_ns)
        ]
      end

    titles = [Enum.join(report.by, ", "), "requests", "denied", "share", "longest wait"]

    [
      ~s(<div class="panel wide">\n<h3>Denied most often</h3>\n),
      table(titles, rows, nil),
      "</div>\n"
    ]
  end

  defp table(titles, rows, _report) do
    [
      "<table>\n<thead><tr>",
      for(title <- titles, do: [~s(<th scope="col">), escape(title), "</th>"]),
      "</tr></thead>\n<tbody>\n",
      for(row <- rows, do: ["<tr>", Enum.map(row, &cell/1), "</tr>\n"]),
      "</tbody>\n</table>\n"
    ]
  end

  defp cell({:raw, html}), do: ["<td>", html, "</td>"]
  defp cell({:bad, 0, text}), do: cell(text)
  defp cell({:bad, _count, text}), do: [~s(<td class="bad">), escape(text), "</td>"]
  defp cell(text), do: ["<td>", escape(text), "</td>"]

  defp counted(part, whole), do: "#{Numbers.number(part)} (#{Numbers.percent(part, whole)})"

  defp found(nil), do: "none of this kind"
  defp found(limit), do: LimitText.format(limit)

  defp footer(report) do
    cost = if report.cost, do: "A request costs what its field #{report.cost} says. ", else: ""

    [
      "<footer>\n<p>",
      escape(
        cost <>
          "Each limit was judged alone, at the log's own time, by the limiter that serves applications. " <>
          "An id's longest wait is the longest it was told to wait after a denial. Made by mix rate_limiter.replay."
      ),
      "</p>\n</footer>\n"
    ]
  end
end
