defmodule Lab.Simulation.Score do
  @moduledoc false
  # The score of one run.
  #
  #   goodput      calls answered in time, as a share of the oracle: the integral of the smaller of demand and capacity
  #   settling     seconds from the fall of the capacity to five seconds with 90 % of the oracle
  #   variation    of the adapted value, relative to its mean, in the last half of a constant overload
  #   denied       the share of calls that were denied
  #   recovered    whether the last ten seconds have 90 % of the oracle

  alias Lab.Simulation.{Scenario, Second}

  defstruct goodput: 0.0, settling: nil, variation: nil, denied: 0.0, recovered: true

  @type t :: %__MODULE__{
          goodput: float,
          settling: number | nil,
          variation: float | nil,
          denied: float,
          recovered: boolean
        }

  @stretch 5
  @enough 0.9

  @doc "Returns the score of a scenario's seconds."
  @spec of([Second.t()], Scenario.t()) :: t
  def of(seconds, scenario) do
    %__MODULE__{
      goodput: ratio(seconds),
      settling: settling(seconds, scenario.overload),
      variation: variation(seconds, scenario.overload),
      denied: sum(seconds, & &1.denied) / max(1, sum(seconds, & &1.asked)),
      recovered: ratio(Enum.take(seconds, -10)) >= @enough
    }
  end

  @doc "Returns the mean of scores, of each field over the scores that have it."
  @spec mean([t]) :: t
  def mean(scores) do
    %__MODULE__{
      goodput: average(scores, & &1.goodput),
      settling: average(scores, & &1.settling),
      variation: average(scores, & &1.variation),
      denied: average(scores, & &1.denied),
      recovered: Enum.all?(scores, & &1.recovered)
    }
  end

  defp ratio(seconds), do: sum(seconds, & &1.good) / max(1.0e-9, sum(seconds, & &1.oracle))

  defp settling(_seconds, nil), do: nil

  defp settling(seconds, {from, to}) do
    short = Enum.filter(seconds, &(&1.at >= from and &1.at < to))

    0..max(0, length(short) - @stretch)
    |> Enum.find(&(short |> Enum.slice(&1, @stretch) |> ratio() >= @enough))
    # Never settled: the length of the overload.
    |> then(&(&1 || to - from))
  end

  defp variation(_seconds, nil), do: nil

  defp variation(seconds, {from, to}) do
    levels =
      for second <- seconds,
          second.at >= (from + to) / 2,
          second.at < to,
          second.level,
          do: second.level

    mean = Enum.sum(levels) / max(1, length(levels))
    if mean > 0, do: deviation(levels, mean) / mean
  end

  defp deviation(values, mean) do
    squares = for value <- values, do: (value - mean) * (value - mean)
    :math.sqrt(Enum.sum(squares) / length(values))
  end

  defp average(scores, field) do
    values = scores |> Enum.map(field) |> Enum.reject(&is_nil/1)
    if values != [], do: Enum.sum(values) / length(values)
  end

  defp sum(seconds, field), do: seconds |> Enum.map(field) |> Enum.sum()
end
