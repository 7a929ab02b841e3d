defmodule RateLimiter.Limits.Report do
  @moduledoc false
  # What limits admit, and what they would change, as text for a terminal.

  alias RateLimiter.Core.{Limit, LimitText, Numbers, Options}
  alias RateLimiter.Limits
  alias RateLimiter.Terminal.Text

  @header ["limiter", "window", "limit", "at once", "in any period"]

  @doc "Returns a line for each window: its limit, and the most that it admits at once and within any period of its length."
  @spec admits(Limits.Change.current()) :: [String.t()]
  def admits(limiters) do
    rows =
      for {name, config} <- limiters,
          {window, limit} <- config.windows,
          do: row(name, window, limit)

    table([@header | rows])
  end

  @doc "Returns a line for each entry of a diff."
  @spec diff(Limits.diff()) :: [String.t()]
  def diff([]), do: ["nothing changes"]

  def diff(entries) do
    for entry <- entries do
      case entry do
        {:changed, path, from, to} ->
          "#{Options.format(path)}: #{Options.show(from)} -> #{Options.show(to)}"

        {:added, path, _windows} ->
          "#{Options.format(path)}: is added"
      end
    end
  end

  defp row(name, window, limit) do
    {once, most} = most(limit)

    [
      Options.format([name]),
      Options.format([window]),
      LimitText.format(limit),
      Numbers.number(once),
      Numbers.number(most)
    ]
  end

  # A bucket that was full refills meanwhile. Two fixed windows may meet in a period.
  defp most(%Limit{algorithm: algorithm, limit: limit})
       when algorithm in [:sliding_window, :sliding_log],
       do: {limit, limit}

  defp most(%Limit{algorithm: :fixed_window, limit: limit}), do: {limit, 2 * limit}

  defp most(%Limit{limit: limit} = bucket) do
    burst = Limit.filled!(bucket).burst
    {burst, burst + limit}
  end

  defp table(rows) do
    rows = for row <- rows, do: Enum.map(row, &Text.visible/1)
    widths = Enum.zip_with(rows, fn column -> column |> Enum.map(&Text.width/1) |> Enum.max() end)

    for row <- rows do
      row
      |> Enum.zip_with(widths, &Text.fit/2)
      |> Enum.join("  ")
      |> String.trim_trailing()
    end
  end
end
