defmodule RateLimiter.Replay.Table.Notes do
  @moduledoc false
  # What of the log was not judged, or not as it should have been. Each note as plain text, so that every kind of
  # report says the same.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.{Fields, Report}
  alias RateLimiter.Terminal.{Screen, Text}

  @reasons %{
    too_long: "longer than 1 MiB",
    shape: "neither Common Log Format nor a JSON object",
    time: "its time cannot be read, or is not in 1970 to 2262",
    request: "its request is not in quotes",
    status: "its status or size is no number",
    json: "no whole JSON object",
    no_time: "a JSON object without a time (--time-field)",
    nested: "the field that says who asked is an object or a list",
    cost: "its cost is no whole number",
    too_many_ids: "more than four billion ids"
  }

  @doc "The notes for a terminal."
  @spec render(Report.t(), Screen.t()) :: IO.chardata()
  def render(report, screen) do
    case notes(report) do
      [] ->
        []

      notes ->
        [
          "\n",
          for {note, lines} <- notes do
            [
              Screen.style(screen, :yellow, [
                "  ",
                note |> Text.wrap(Screen.columns() - 4) |> Enum.intersperse("\n  ")
              ]),
              "\n",
              for({where, reason, text} <- lines, do: broken(where, reason, text, screen))
            ]
          end
        ]
    end
  end

  @doc "Each note, with the lines that it speaks of: where, why, and how they begin."
  @spec notes(Report.t()) :: [{String.t(), [{String.t(), String.t(), String.t()}]}]
  def notes(%Report{input: input} = report) do
    [
      for(
        {_name, problem} when problem != nil <- report.logs,
        do: {"#{problem}: what was read counts", []}
      ),
      unread(report, input),
      late(report, input),
      without_id(report, input),
      empty(input)
    ]
    |> List.flatten()
  end

  defp unread(_report, %{broken: 0}), do: []

  defp unread(report, input) do
    shown =
      for {log, line, reason, text} <- input.first_broken,
          do: {place(report, log, line), reason(report, reason), Text.visible(text)}

    more = if input.broken > length(shown), do: "; the first", else: ""

    {"#{Numbers.count(input.broken, "line")} of #{Numbers.number(input.lines)} could not be read (#{Numbers.percent(input.broken, input.lines)})#{more}:",
     shown}
  end

  defp reason(%Report{by: by, cost: cost}, :no_field) do
    unknown = Enum.reject(by ++ List.wrap(cost), &Fields.word?/1)
    "Common Log Format has no #{Enum.join(unknown, ", ")}"
  end

  defp reason(_report, reason), do: @reasons[reason]

  defp late(_report, %{late: 0}), do: []

  defp late(report, %{first_late: {log, line}} = input) do
    advice =
      if input.late * 100 > input.requests,
        do: ". So many: is the log in order of time? See --reorder",
        else: ""

    {"#{Numbers.count(input.late, "request")} (#{Numbers.percent(input.late, input.requests)}) came more than " <>
       "#{Numbers.span(report.reorder_ms * 1_000_000)} late, first in #{place(report, log, line)}, " <>
       "and #{if input.late == 1, do: "was", else: "were"} judged on arrival#{advice}", []}
  end

  defp without_id(_report, %{without_id: 0}), do: []

  defp without_id(report, input) do
    {"#{Numbers.count(input.without_id, "line")} of #{Numbers.number(input.lines)} " <>
       "#{if input.without_id == 1, do: "has", else: "have"} no #{Enum.join(report.by, ", ")} and " <>
       "#{if input.without_id == 1, do: "was", else: "were"} not judged", []}
  end

  defp empty(%{lines: 0}), do: {"there is nothing in the log", []}
  defp empty(%{requests: 0}), do: {"no line could be judged", []}
  defp empty(_input), do: []

  defp place(%Report{logs: logs}, log, line) do
    {name, _} = Enum.at(logs, log)
    name = if name == "standard input", do: name, else: Path.basename(name)
    "#{name |> Text.visible() |> Text.at_most(24)}:#{line}"
  end

  defp broken(where, reason, text, screen) do
    [
      ["    ", Text.at_most("#{where}  #{reason}", Screen.columns() - 4), "\n"],
      Screen.style(screen, :faint, ["      ", Text.at_most(text, Screen.columns() - 6)]),
      "\n"
    ]
  end
end
