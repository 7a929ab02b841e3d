defmodule Bench.Table do
  @moduledoc false
  # A table in Markdown that also reads well in a terminal. The first column is text, all others are figures.

  alias RateLimiter.Core.Numbers

  @spec print([String.t()], [[String.t()]]) :: :ok
  def print(headings, rows) do
    widths = widths([headings | rows])
    IO.puts(line(headings, widths))
    IO.puts(rule(widths))
    for row <- rows, do: IO.puts(line(row, widths))
    IO.puts("")
  end

  @spec decimal(number, non_neg_integer) :: String.t()
  def decimal(number, places \\ 1), do: Numbers.decimal(number, places)

  @doc "Returns a number with separated thousands."
  @spec count(number) :: String.t()
  def count(number), do: number |> round() |> Numbers.number()

  defp widths(rows) do
    for column <- Enum.zip_with(rows, & &1) do
      column |> Enum.map(&String.length/1) |> Enum.max() |> max(3)
    end
  end

  defp line([name | figures], [width | widths]) do
    cells = Enum.zip_with(figures, widths, &String.pad_leading/2)
    "| " <> Enum.join([String.pad_trailing(name, width) | cells], " | ") <> " |"
  end

  defp rule([width | widths]) do
    cells = for width <- widths, do: String.duplicate("-", width - 1) <> ":"
    "| " <> Enum.join([String.duplicate("-", width) | cells], " | ") <> " |"
  end
end
