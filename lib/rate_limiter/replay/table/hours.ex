defmodule RateLimiter.Replay.Table.Hours do
  @moduledoc false
  # At what time of day it happened, as two rows of small bars.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.Verdict
  alias RateLimiter.Terminal.{Screen, Text}

  @name 12

  @doc "The rows; nothing where nothing was denied."
  @spec render(Verdict.t(), map, Screen.t()) :: IO.chardata()
  def render(%Verdict{denied: 0}, _input, _screen), do: []

  def render(%Verdict{hours: hours}, input, screen) do
    asked = Enum.map(hours, fn {admitted, denied} -> admitted + denied end)
    denied = Enum.map(hours, fn {_admitted, denied} -> denied end)

    [
      "\n",
      Screen.style(screen, :faint, ["  ", Text.fit("by hour", @name), scale()]),
      "\n",
      row("requests", asked, screen),
      ["  ", Text.fit("denied", @name), Screen.style(screen, :red, bars(denied, screen)), "\n"],
      ["  ", Text.fit("", @name), busiest(denied), " (", zone(input), ")\n"]
    ]
  end

  defp scale do
    Enum.map_join(0..21//3, "    ", &String.pad_leading("#{&1}", 2, "0"))
  end

  defp row(name, values, screen), do: ["  ", Text.fit(name, @name), bars(values, screen), "\n"]

  defp bars(values, screen) do
    highest = Enum.max(values)
    Enum.map(values, &String.duplicate(Screen.height(screen, &1, highest), 2))
  end

  defp busiest(denied) do
    {most, hour} =
      denied |> Enum.with_index() |> Enum.max_by(fn {count, hour} -> {count, -hour} end)

    clock = fn hour -> String.pad_leading("#{hour}", 2, "0") <> ":00" end

    "most from #{clock.(hour)} to #{clock.(hour + 1)}: #{Numbers.number(most)} of #{Numbers.number(Enum.sum(denied))}"
  end

  defp zone(%{mixed_zones: true}), do: "each line's own zone"
  defp zone(%{zone_minutes: zone}), do: Numbers.zone(zone)
end
