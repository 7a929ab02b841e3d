defmodule RateLimiter.Replay.Page do
  @moduledoc false
  # A report as one HTML file.

  require EEx

  alias RateLimiter.Core.{Limit, LimitText, Numbers}
  alias RateLimiter.Replay.{Charts, Notes, Report, Summary, Verdict}
  alias RateLimiter.Terminal.{Html, Text}

  import RateLimiter.Terminal.Html, only: [escape: 1]

  EEx.function_from_file(:defp, :body, Path.join(__DIR__, "page.eex"), [:report], trim: true)

  @doc "Returns the whole page."
  @spec render(Report.t()) :: iodata
  def render(%Report{} = report), do: Html.page(title(report), "", body(report))

  defp title(report), do: "What these limits would have done to #{names(report)}"

  defp names(%Report{logs: [{name, _}]}), do: name |> Path.basename() |> Text.visible()
  defp names(%Report{logs: logs}), do: "#{length(logs)} logs"

  defp scope(%Report{input: input} = report) do
    "#{Numbers.count(input.requests, "request")} by #{Numbers.count(input.ids, "client")} " <>
      "(#{Enum.join(report.by, ", ")})#{span(input)}"
  end

  defp span(%{first: nil}), do: ""

  defp span(%{first: {first, _}, last: {last, _}, zone_minutes: zone}) do
    ", #{Numbers.local(div(first, 1_000_000_000), zone)} to #{Numbers.moment(div(last, 1_000_000_000), zone)} " <>
      "(#{Numbers.about(last - first)})"
  end

  defp hours_zone(%{mixed_zones: true}), do: "more than one zone"
  defp hours_zone(%{zone_minutes: zone}), do: Numbers.zone(zone)

  defp overview(%Report{verdicts: verdicts}) do
    smallest =
      for {share, _} <- hd(verdicts).smallest,
          do: if(share == 0, do: "denies no client", else: "denies at most #{Numbers.ppm(share)}")

    rows =
      for {verdict, index} <- Enum.with_index(verdicts, 1) do
        text = breakable(LimitText.format(verdict.limit))

        [
          {:html, ~s(<a href="#limit-#{index}"><code>#{text}</code></a>)},
          denied(verdict.denied, verdict.requests),
          denied(verdict.ids_denied, verdict.ids)
          | for(
              {_, limit} <- verdict.smallest,
              do: if(limit, do: LimitText.short(limit), else: "none")
            )
        ]
      end

    table(["limit", "requests denied", "clients denied" | smallest], rows)
  end

  defp smallest_label(0), do: "smallest limit that denies no client"

  defp smallest_label(share),
    do: "smallest limit that denies at most #{Numbers.ppm(share)} of clients"

  defp found(nil), do: "none of this kind"
  defp found(limit), do: breakable(LimitText.format(limit))

  # A long limit breaks at its colons.
  defp breakable(text), do: text |> escape() |> String.replace(":", ":<wbr>")

  defp tile(label, part, whole) do
    class = if part > 0, do: ~s( class="bad"), else: ""

    ~s(<div class="tile"><b#{class}>#{escape(Numbers.percent(part, whole))}</b>) <>
      ~s(<span class="soft">#{label}: #{Numbers.number(part)} of #{Numbers.number(whole)}</span></div>)
  end

  defp curve_table(%Verdict{} = verdict) do
    rows =
      for {limit, ids, requests} <- verdict.curve do
        [
          LimitText.rate_text(%{verdict.limit | limit: limit}),
          counted(ids, verdict.ids),
          counted(requests, verdict.requests)
        ]
      end

    table(["limit", "clients denied", "requests denied"], rows)
  end

  defp top_table(%Verdict{top: top}, report) do
    rows =
      for id <- top do
        [
          {:html,
           [
             "<code>#{id.id |> Report.id_text() |> Text.at_most(160) |> escape()}</code>",
             Charts.marks(id)
           ]},
          Numbers.number(id.requests),
          {:bad, Numbers.number(id.denied)},
          Numbers.percent(id.denied, id.requests),
          Numbers.span(id.longest_wait_ns)
        ]
      end

    table([Enum.join(report.by, ", "), "requests", "denied", "share", "longest wait"], rows)
  end

  defp kinds_table(title, kinds) do
    rows =
      for kind <- kinds do
        value = if kind.value, do: Text.at_most(kind.value, 160), else: "-"

        [
          {:html, "<code>#{escape(value)}</code>"},
          Numbers.number(kind.requests),
          {:bad, Numbers.number(kind.denied)},
          Numbers.percent(kind.denied, kind.requests)
        ]
      end

    table([title, "requests", "denied", "share"], rows)
  end

  # Not for a log that has none.
  defp told?(kinds), do: Enum.any?(kinds, & &1.value)

  defp table(titles, rows) do
    [
      "<table>\n<thead><tr>",
      for(title <- titles, do: [~s(<th scope="col">), escape(title), "</th>"]),
      "</tr></thead>\n<tbody>\n",
      for(row <- rows, do: ["<tr>", Enum.map(row, &cell/1), "</tr>\n"]),
      "</tbody>\n</table>"
    ]
  end

  defp cell({:html, html}), do: ["<td>", html, "</td>"]
  defp cell({:bad, text}), do: [~s(<td class="bad">), unbroken(text), "</td>"]
  defp cell(text), do: ["<td>", unbroken(text), "</td>"]

  # A number and its sign stay on one line.
  defp unbroken(text), do: text |> escape() |> String.replace(" %", "&#160;%")

  defp denied(0, whole), do: counted(0, whole)
  defp denied(part, whole), do: {:bad, counted(part, whole)}

  defp counted(part, whole), do: "#{Numbers.number(part)} (#{Numbers.percent(part, whole)})"
end
