defmodule Guides.SubWindows do
  # The calls that the strict sliding window denies and the exact log admits: a limit of 100 a minute, calls at random
  # moments for 50 minutes.
  @moduledoc false

  alias Guides.Traffic
  alias RateLimiter.Core.Numbers

  @limit 100
  @per_ms 60_000
  @periods 50
  @loads [1.0, 1.5, 2.0, 4.0]
  @sub_windows [1, 2, 5, 10, 20, 60, 120]

  @doc "Returns the table of limits.md."
  def table do
    rows =
      for load <- @loads do
        arrivals = Traffic.random(load, @limit, @per_ms, @periods)
        log = admitted([algorithm: :sliding_log], arrivals)

        losses =
          for n <- @sub_windows do
            admitted = admitted([algorithm: :sliding_window, sub_windows: n], arrivals)
            Numbers.decimal(100 * (log - admitted) / log, 1) <> " %"
          end

        row(["calls at #{load} x the limit" | losses])
      end

    [
      row(["sub-windows" | Enum.map(@sub_windows, &to_string/1)]),
      row(["---" | Enum.map(@sub_windows, fn _ -> "---:" end)])
      | rows
    ]
    |> Enum.join("\n")
  end

  defp admitted(window, arrivals) do
    (window ++ [limit: @limit, per: {@per_ms, :millisecond}])
    |> Traffic.run(arrivals)
    |> Enum.count(&elem(&1, 1))
  end

  defp row(cells), do: "| #{Enum.join(cells, " | ")} |"
end
