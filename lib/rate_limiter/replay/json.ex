defmodule RateLimiter.Replay.Json do
  @moduledoc false
  # A report as JSON.

  alias RateLimiter.Core.{Limit, LimitText, Numbers}
  alias RateLimiter.Replay.{Notes, Report, Verdict}

  alias RateLimiter.Core.Json
  alias RateLimiter.Terminal.Text

  @doc "Returns the whole report."
  @spec render(Report.t()) :: iodata
  def render(%Report{} = report), do: report |> object() |> Json.encode()

  defp object(report) do
    input = report.input

    [
      logs:
        for {name, problem} <- report.logs do
          [name: Text.visible(name), problem: problem && Text.visible(problem)]
        end,
      by: report.by,
      cost: report.cost,
      lines: input.lines,
      blank: input.blank,
      broken: input.broken,
      without_id: input.without_id,
      late: input.late,
      sorted: report.sorted,
      requests: input.requests,
      ids: input.ids,
      first: moment(input.first),
      last: moment(input.last),
      time_zone:
        if(input.mixed_zones,
          do: "mixed",
          else: input.zone_minutes && Numbers.zone(input.zone_minutes)
        ),
      notes: for({note, _lines} <- Notes.notes(report), do: String.trim_trailing(note, ":")),
      first_broken: first_broken(report),
      limits: Enum.map(report.verdicts, &verdict/1)
    ]
  end

  defp first_broken(report) do
    for {_note, lines} <- Notes.notes(report), {where, reason, text} <- lines do
      [line: where, reason: reason, text: text]
    end
  end

  defp verdict(%Verdict{} = verdict) do
    limit_object(verdict.limit) ++
      [
        requests: verdict.requests,
        admitted: verdict.admitted,
        denied: verdict.denied,
        denied_share: share(verdict.denied, verdict.requests),
        ids: verdict.ids,
        ids_denied: verdict.ids_denied,
        ids_denied_share: share(verdict.ids_denied, verdict.ids),
        smallest: smallest(verdict),
        top_denied: Enum.map(verdict.top, &top/1),
        denied_paths: Enum.map(verdict.paths, &kind/1),
        denied_statuses: Enum.map(verdict.statuses, &kind/1),
        by_hour:
          for {{admitted, denied}, hour} <- Enum.with_index(verdict.hours) do
            [hour: hour, admitted: admitted, denied: denied]
          end,
        over_time: [
          column_seconds: verdict.column_seconds,
          columns:
            for {start, admitted, denied} <- verdict.columns do
              [
                start: DateTime.to_iso8601(DateTime.from_unix!(start)),
                admitted: admitted,
                denied: denied
              ]
            end
        ],
        by_limit:
          for {limit, ids, requests} <- verdict.curve do
            [
              limit: limit,
              ids_denied: ids,
              ids_denied_share: share(ids, verdict.ids),
              requests_denied: requests,
              requests_denied_share: share(requests, verdict.requests)
            ]
          end
      ]
  end

  defp smallest(verdict) do
    for {share_ppm, limit} <- verdict.smallest do
      [ids_denied_at_most_percent: share_ppm / 10_000] ++
        if(limit, do: limit_object(limit), else: [text: nil, limit: nil])
    end
  end

  defp limit_object(%Limit{} = limit) do
    [
      text: LimitText.format(limit),
      limit: limit.limit,
      per_ms: div(Limit.nanoseconds(limit.per), 1_000_000),
      algorithm: Atom.to_string(limit.algorithm),
      burst: Limit.filled!(limit).burst
    ] ++
      for {key, value} <- [sub_windows: limit.sub_windows, aligned: limit.aligned],
          value != nil,
          do: {key, value}
  end

  # An id of one field is a string, of several an array.
  defp top(id) do
    [
      id: if(match?([_], id.id), do: hd(id.id), else: id.id),
      requests: id.requests,
      denied: id.denied,
      longest_wait_ms: id.longest_wait_ns && div(id.longest_wait_ns + 999_999, 1_000_000)
    ]
  end

  defp kind(kind), do: [value: kind.value, requests: kind.requests, denied: kind.denied]

  defp moment(nil), do: nil

  defp moment({unix_ns, _zone}),
    do: unix_ns |> div(1_000) |> DateTime.from_unix!(:microsecond) |> DateTime.to_iso8601()

  defp share(_part, 0), do: 0.0
  defp share(part, whole), do: part / whole
end
