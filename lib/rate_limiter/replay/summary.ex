defmodule RateLimiter.Replay.Summary do
  @moduledoc false
  # A verdict in two sentences.

  alias RateLimiter.Core.{LimitText, Numbers}
  alias RateLimiter.Replay.Verdict

  # A longer part of the day says nothing.
  @most_hours 12

  @doc "Returns what a limit would have denied, to whom and when, and the limits to consider instead."
  @spec sentences(Verdict.t()) :: String.t()
  def sentences(%Verdict{} = verdict), do: Enum.join([denied(verdict) | smallest(verdict)], " ")

  defp denied(%Verdict{denied: 0} = verdict),
    do: "#{LimitText.format(verdict.limit)} would have denied nothing."

  defp denied(verdict) do
    "#{LimitText.format(verdict.limit)} would have denied #{part(verdict.denied, verdict.requests, "request")}, " <>
      "from #{part(verdict.ids_denied, verdict.ids, "client")}#{hours(verdict)}."
  end

  defp part(part, whole, noun), do: "#{Numbers.number(part)} of #{Numbers.count(whole, noun)}"

  defp hours(%Verdict{hours: hours, denied: denied}) do
    counts = for {{_admitted, denied}, hour} <- Enum.with_index(hours), do: {denied, hour}
    {first, last} = for({n, hour} <- counts, n > 0, do: hour) |> Enum.min_max()
    {most, hour} = Enum.max_by(counts, fn {n, hour} -> {n, -hour} end)

    cond do
      last - first < @most_hours -> ", all #{between(first, last + 1)}"
      most * 2 > denied -> ", most of them #{between(hour, hour + 1)}"
      true -> ""
    end
  end

  defp between(from, to), do: "between #{Numbers.hour(from)} and #{Numbers.hour(to)}"

  defp smallest(%Verdict{smallest: smallest}) do
    found = for {share, limit} <- smallest, limit, do: {share, limit}

    case found do
      [] -> []
      [first | rest] -> ["The smallest limit #{that_denies(first)}#{Enum.map(rest, &and_one/1)}."]
    end
  end

  defp that_denies({share, limit}), do: "that denies #{whom(share)} is #{LimitText.short(limit)}"
  defp and_one({share, limit}), do: ", and #{LimitText.short(limit)} denies #{whom(share)}"

  defp whom(0), do: "no client"
  defp whom(share), do: "at most #{Numbers.ppm(share)} of clients"
end
