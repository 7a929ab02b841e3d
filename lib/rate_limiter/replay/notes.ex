defmodule RateLimiter.Replay.Notes do
  @moduledoc false
  # The lines and logs that were not judged, or not in order, as plain text for every form of a report.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.{Report, Settings}
  alias RateLimiter.Terminal.Text

  @reasons %{
    too_long: "longer than 1 MiB",
    shape: "neither Common Log Format nor a JSON object",
    time: "its time cannot be read, or is not between 1970 and 2262, or 1973 if it is a number",
    request: "its request is not in quotes",
    status: "its status or size is not a number",
    json: "not a complete JSON object",
    no_time: "a JSON object without a time (--time-field)",
    nested: "the field of the id is an object or a list",
    cost: "its cost is not a whole number",
    too_many_ids: "more than four billion ids",
    utf16: "its text is UTF-16: convert it with iconv -f UTF-16 -t UTF-8",
    carriage_returns:
      "several lines that end in bare carriage returns: convert them with tr '\\r' '\\n'"
  }

  # The text around the fields, and whether it was removed.
  @layouts %{
    "list" => "a list of addresses as the client: its first address counts",
    "port" => "a port behind the address, which does not count",
    "virtual_host" => "a virtual host before the address, which does not count",
    "syslog" => "a prefix of syslog",
    "compose" => "a prefix of Docker Compose",
    "kubernetes" => "a prefix of Kubernetes",
    "envelope" => "the JSON object of a collector around them",
    "amazon" => "the format of an Amazon load balancer",
    "envoy" => "the format of Envoy",
    "w3c" => "W3C format"
  }

  # As many requests of a single id are hardly those of one client.
  @one_id 50
  @shown_fields 12

  @doc "Returns each note with its example lines: where, why, and how they begin."
  @spec notes(Report.t()) :: [{String.t(), [{String.t(), String.t(), String.t()}]}]
  def notes(%Report{input: input} = report) do
    logs =
      for {_name, problem} when problem != nil <- report.logs,
          do: {"#{problem}. The lines before it count.", []}

    List.flatten([
      logs,
      for(name <- report.repeated, do: {"#{name} was named more than once, and read once", []}),
      unread(report, input),
      without_time(report, input),
      sorted(report, input),
      late(report, input),
      for({name, count} <- input.layouts, do: {layout(name, count), []}),
      without_id(report, input),
      suspects(report, input),
      empty(input)
    ])
  end

  defp layout(name, count) do
    has = if count == 1, do: "has", else: "have"
    "#{Numbers.count(count, "request")} #{has} #{Map.fetch!(@layouts, name)}"
  end

  defp without_time(report, %{first_broken: broken}) do
    if report.input.without_id == 0 and Enum.any?(broken, &(elem(&1, 2) in [:no_time, :time])) do
      for text <- fields(report, "time-field", &time?/1), do: {text, []}
    else
      []
    end
  end

  defp sorted(%Report{sorted: false}, _input), do: []

  defp sorted(_report, %{steps: {later, earlier}}) when earlier > later,
    do: {"the log is written newest first, and was read in order of time", []}

  defp sorted(report, _input) do
    {"the log has lines that are more than #{span(report)} out of order, and was sorted by time",
     []}
  end

  defp span(report), do: Numbers.span(report.reorder_ms * 1_000_000)

  defp unread(_report, %{broken: 0}), do: []

  defp unread(report, input) do
    shown =
      for {log, line, reason, text} <- Enum.uniq_by(input.first_broken, &elem(&1, 2)),
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

  defp late(report, %{first_late: {log, line}}) do
    {"#{late(report)}, the first in #{place(report, log, line)}", []}
  end

  @doc "Returns why the figures of a report are wrong, or `nil`."
  @spec late(Report.t()) :: String.t() | nil
  def late(%Report{input: %{late: 0}}), do: nil

  def late(%Report{input: input} = report) do
    "#{Numbers.count(input.late, "request")} (#{Numbers.percent(input.late, input.requests)}) arrived more than " <>
      "#{span(report)} late, so the figures are wrong: name the log as a file, which can be sorted, or raise --reorder"
  end

  defp without_id(_report, %{without_id: 0}), do: []

  defp without_id(report, input) do
    {has, was} = if input.without_id == 1, do: {"has", "was"}, else: {"have", "were"}

    note =
      "#{Numbers.count(input.without_id, "line")} of #{Numbers.number(input.lines)} #{has} no " <>
        "#{Enum.join(report.by, ", ")} and #{was} not judged"

    for text <- [note | fields(report, "by", &address?/1)], do: {text, []}
  end

  # The fields of the first line that lacks one, if they are JSON, and the one that may be meant.
  defp fields(%Report{input: %{first_fields: []}}, _option, _fits?), do: []

  defp fields(%Report{input: %{first_fields: fields}}, option, fits?) do
    names = for {name, _value} <- Enum.take(fields, @shown_fields), do: Text.visible(name)
    more = if length(fields) > @shown_fields, do: ", ...", else: ""
    found = Enum.find(fields, fn {_name, value} -> fits?.(value) end)
    advice = if found, do: ". Try --#{option} #{found |> elem(0) |> Text.visible()}", else: ""
    ["the first such line has the fields #{Enum.join(names, ", ")}#{more}#{advice}"]
  end

  defp address?(text) do
    first = text |> String.split(",") |> hd() |> String.trim()
    alone = Regex.replace(~r/\A(\d+(?:\.\d+){3}):\d+\z/, first, "\\1")
    match?({:ok, _}, :inet.parse_strict_address(String.to_charlist(alone)))
  end

  defp time?(text), do: text =~ ~r/\A(\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\d{9,19}(\.\d+)?\z)/

  ## Ids that look wrong

  defp suspects(report, %{suspects: {not_addresses, lists, ports, first}} = input) do
    example = first && first |> Text.visible() |> Text.at_most(40)

    [
      if(input.ids == 1 and input.requests >= @one_id,
        do:
          {"all requests have one id: check that #{Enum.join(report.by, ", ")} is the client, or choose " <>
             "another field with --by", []},
        else: []
      ),
      if(not_addresses * 10 > input.ids,
        do:
          {"#{some(not_addresses, input, "not an address", "not addresses")}, such as #{example}. If they are not clients, choose " <>
             "another field with --by, or name that of the address with --field ip=NAME", []},
        else: []
      ),
      if(lists > 0,
        do:
          {"#{some(lists, input, "a list of addresses", "lists of addresses")}, such as #{example}, which split one client. " <>
             "Count the first address alone: #{as_ip(report)}", []},
        else: []
      ),
      if(ports > 0,
        do:
          {"#{some(ports, input, "an address with a port", "addresses with a port")}, so that each connection is a client of its own. " <>
             "Count the address alone: #{as_ip(report)}", []},
        else: []
      )
    ]
  end

  defp some(1, input, one, _many), do: "1 of #{Numbers.count(input.ids, "id")} is #{one}"

  defp some(count, input, _one, many),
    do: "#{Numbers.number(count)} of #{Numbers.count(input.ids, "id")} are #{many}"

  defp as_ip(%Report{by: [name]}), do: "--by ip --field ip=#{name}"
  defp as_ip(_report), do: "--by ip --field ip=NAME"

  defp empty(%{lines: 0}), do: {"the log is empty", []}
  defp empty(%{requests: 0}), do: {"no line could be judged", []}
  defp empty(_input), do: []

  defp place(%Report{logs: logs}, log, line) do
    {name, _} = Enum.at(logs, log)
    name = if name == "standard input", do: name, else: Path.basename(name)
    "#{name |> Text.visible() |> Text.at_most(24)}:#{line}"
  end
end
