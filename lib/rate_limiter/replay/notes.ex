defmodule RateLimiter.Replay.Notes do
  @moduledoc false
  # The lines and logs that were not judged, or not in order, as plain text for every form of a report.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.{Report, Settings}
  alias RateLimiter.Terminal.Text

  @reasons %{
    too_long: "longer than 1 MiB",
    shape: "neither Common Log Format nor a JSON object",
    time: "its time cannot be read, or is not between 1970 and 2262",
    request: "its request is not in quotes",
    status: "its status or size is not a number",
    json: "not a complete JSON object",
    no_time: "a JSON object without a time (--time-field)",
    nested: "the field of the id is an object or a list",
    cost: "its cost is not a whole number",
    too_many_ids: "more than four billion ids"
  }

  @doc "Returns each note with its example lines: where, why, and how they begin."
  @spec notes(Report.t()) :: [{String.t(), [{String.t(), String.t(), String.t()}]}]
  def notes(%Report{input: input} = report) do
    logs =
      for {_name, problem} when problem != nil <- report.logs,
          do: {"#{problem}. The lines before it count.", []}

    List.flatten([
      logs,
      unread(report, input),
      late(report, input),
      without_id(report, input),
      empty(input)
    ])
  end

  defp unread(_report, %{broken: 0}), do: []

  defp unread(report, input) do
    shown =
      for {log, line, reason, text} <- input.first_broken,
          do: {place(report, log, line), reason(report, reason), Text.visible(text)}

    more = if input.broken > length(shown), do: "; the first", else: ""

    {"#{Numbers.count(input.broken, "line")} of #{Numbers.number(input.lines)} could not be read " <>
       "(#{Numbers.percent(input.broken, input.lines)})#{more}:", shown}
  end

  defp reason(%Report{by: by, cost: cost}, :no_field) do
    unknown = Enum.reject(by ++ List.wrap(cost), &Settings.field?/1)
    "Common Log Format has no #{Enum.join(unknown, ", ")}"
  end

  defp reason(_report, reason), do: @reasons[reason]

  defp late(_report, %{late: 0}), do: []

  defp late(report, %{first_late: {log, line}} = input) do
    advice =
      if input.late * 100 > input.requests,
        do: ". Check that the log is in order of time; see --reorder",
        else: ""

    {"#{Numbers.count(input.late, "request")} (#{Numbers.percent(input.late, input.requests)}) arrived more than " <>
       "#{Numbers.span(report.reorder_ms * 1_000_000)} late, the first in #{place(report, log, line)}, " <>
       "and #{if input.late == 1, do: "was", else: "were"} judged on arrival#{advice}", []}
  end

  defp without_id(_report, %{without_id: 0}), do: []

  defp without_id(report, input) do
    {has, was} = if input.without_id == 1, do: {"has", "was"}, else: {"have", "were"}

    {"#{Numbers.count(input.without_id, "line")} of #{Numbers.number(input.lines)} #{has} no " <>
       "#{Enum.join(report.by, ", ")} and #{was} not judged", []}
  end

  defp empty(%{lines: 0}), do: {"the log is empty", []}
  defp empty(%{requests: 0}), do: {"no line could be judged", []}
  defp empty(_input), do: []

  defp place(%Report{logs: logs}, log, line) do
    {name, _} = Enum.at(logs, log)
    name = if name == "standard input", do: name, else: Path.basename(name)
    "#{name |> Text.visible() |> Text.at_most(24)}:#{line}"
  end
end
