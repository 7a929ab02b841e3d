defmodule Bench.Figures do
  @moduledoc false
  # The results of rounds. A ratio is taken within each round, so that a slow round does not count.

  @spec median([number]) :: float
  def median(figures) do
    sorted = Enum.sort(figures)
    count = length(sorted)
    (Enum.at(sorted, div(count - 1, 2)) + Enum.at(sorted, div(count, 2))) / 2
  end

  @doc "Returns the quartiles: half of the figures lie between them."
  @spec quartiles([number]) :: String.t()
  def quartiles(figures) do
    sorted = Enum.sort(figures)
    last = length(sorted) - 1
    low = Enum.at(sorted, div(last, 4))
    high = Enum.at(sorted, last - div(last, 4))
    Bench.Table.decimal(low) <> " - " <> Bench.Table.decimal(high)
  end

  @spec ratio([number], [number]) :: float
  def ratio(ours, theirs), do: ours |> Enum.zip_with(theirs, &(&1 / &2)) |> median()

  @spec minus([number], [number]) :: [number]
  def minus(figures, others), do: Enum.zip_with(figures, others, &(&1 - &2))
end
