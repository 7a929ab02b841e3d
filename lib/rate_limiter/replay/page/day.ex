defmodule RateLimiter.Replay.Page.Day do
  @moduledoc false
  # At what time of day it happened: a column an hour.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.Verdict
  alias RateLimiter.Terminal.Svg

  @doc "The drawing."
  @spec render(Verdict.t(), String.t()) :: iodata
  def render(%Verdict{hours: hours} = verdict, id) do
    box = Svg.box()

    ticks =
      hours
      |> Enum.map(fn {admitted, denied} -> admitted + denied end)
      |> Enum.max()
      |> Svg.ticks()

    highest = List.last(ticks)
    wide = (box.right - box.left) / 24

    Svg.drawing(id, "By hour of the day", description(verdict), [
      Svg.rows(box, Enum.map(ticks, &{&1, Numbers.number(&1)}), highest),
      for {{admitted, denied}, hour} <- Enum.with_index(hours) do
        left = box.left + hour * wide
        foot = Svg.y(box, admitted, highest)

        head =
          if denied > 0, do: min(Svg.y(box, admitted + denied, highest), foot - 2.5), else: foot

        [
          Svg.rect("admitted", left + 2, foot, wide - 4, box.bottom - foot),
          Svg.rect("denied", left + 2, head, wide - 4, foot - head),
          Svg.rect(
            "hover",
            left,
            box.top,
            wide,
            box.bottom - box.top,
            Svg.tip(
              "#{clock(hour)} to #{clock(hour + 1)}: #{Numbers.number(admitted)} admitted, #{Numbers.number(denied)} denied"
            )
          ),
          if(rem(hour, 3) == 0,
            do: Svg.text(left + wide / 2, box.bottom + 20, "middle", clock(hour)),
            else: []
          )
        ]
      end
    ])
  end

  defp clock(hour), do: String.pad_leading("#{hour}", 2, "0") <> ":00"

  defp description(verdict) do
    {{_, most}, hour} =
      verdict.hours
      |> Enum.with_index()
      |> Enum.max_by(fn {{_, denied}, hour} -> {denied, -hour} end)

    if most == 0,
      do: "Nothing was denied.",
      else: "Most was denied from #{clock(hour)} to #{clock(hour + 1)}: #{Numbers.number(most)}."
  end
end
