defmodule RateLimiter.Core.Numbers do
  @moduledoc false
  # Numbers, shares, spans and moments as text for people: the only place that formats them.

  @units [
    {86_400_000_000_000, "d"},
    {3_600_000_000_000, "h"},
    {60_000_000_000, "min"},
    {1_000_000_000, "s"}
  ]

  @doc """
  Returns an integer with separated thousands, and a float with at most two decimals.

      iex> {RateLimiter.Core.Numbers.number(1_234_567), RateLimiter.Core.Numbers.number(0.7004)}
      {"1,234,567", "0.7"}
  """
  @spec number(number) :: String.t()
  def number(number) when is_integer(number),
    do: number |> Integer.to_string() |> String.replace(~r/\B(?=(\d{3})+$)/, ",")

  def number(number), do: :erlang.float_to_binary(number, [:compact, decimals: 2])

  @doc """
  Returns a change between two numbers, with as many decimals as it takes to show it, from two to six.

      iex> alias RateLimiter.Core.Numbers
      iex> {Numbers.from_to(1.0, 0.7), Numbers.from_to(0.1, 0.101)}
      {"from 1.0 to 0.7", "from 0.1 to 0.101"}
  """
  @spec from_to(number, number) :: String.t()
  def from_to(from, to) do
    decimals = Enum.find(2..6, 6, &(Float.round(from / 1, &1) != Float.round(to / 1, &1)))
    "from #{Float.round(from / 1, decimals)} to #{Float.round(to / 1, decimals)}"
  end

  @doc """
  Returns a count and its noun, in the plural where necessary.

      iex> {RateLimiter.Core.Numbers.count(1, "line"), RateLimiter.Core.Numbers.count(1_200, "line")}
      {"1 line", "1,200 lines"}
  """
  @spec count(non_neg_integer, String.t()) :: String.t()
  def count(1, noun), do: "1 #{noun}"
  def count(count, noun), do: "#{number(count)} #{noun}s"

  @doc """
  Returns a share in percent, with at most one decimal.

      iex> Enum.map([0, 0.0051, 0.12, 1.0], &RateLimiter.Core.Numbers.percent/1)
      ["0 %", "0.5 %", "12 %", "100 %"]
  """
  @spec percent(number) :: String.t()
  def percent(share) do
    text = :erlang.float_to_binary(share * 100.0, [:compact, decimals: 1])
    String.replace_suffix(text, ".0", "") <> " %"
  end

  @doc """
  Returns a part of a whole in percent. The result is "0 %" or "100 %" only for none or all of it.

      iex> alias RateLimiter.Core.Numbers
      iex> Enum.map([{0, 9}, {1, 100_000}, {1, 60}, {1, 3}, {99_999, 100_000}, {9, 9}, {0, 0}], fn {part, whole} ->
      ...>   Numbers.percent(part, whole)
      ...> end)
      ["0 %", "<0.01 %", "1.67 %", "33.3 %", ">99.9 %", "100 %", "0 %"]
  """
  @spec percent(non_neg_integer, non_neg_integer) :: String.t()
  def percent(0, _whole), do: "0 %"
  def percent(whole, whole), do: "100 %"
  def percent(part, whole) when part * 10_000 < whole, do: "<0.01 %"
  def percent(part, whole) when part * 1_000 > whole * 999, do: ">99.9 %"
  def percent(part, whole) when part * 10 < whole, do: decimal(part, whole, 2) <> " %"
  def percent(part, whole), do: decimal(part, whole, 1) <> " %"

  # Rounded as integers: a float would turn 0.125 % into 0.12 % or 0.13 % by chance.
  defp decimal(part, whole, places) do
    steps = Integer.pow(10, places)
    decimal(div(part * 100 * steps * 2 + whole, whole * 2) / steps, places)
  end

  @doc """
  Returns a number with so many decimals.

      iex> RateLimiter.Core.Numbers.decimal(12, 1)
      "12.0"
  """
  @spec decimal(number, non_neg_integer) :: String.t()
  def decimal(number, places), do: :erlang.float_to_binary(number / 1, decimals: places)

  @doc """
  Returns parts per million in percent.

      iex> Enum.map([0, 10_000, 1_500, 1_000_000], &RateLimiter.Core.Numbers.ppm/1)
      ["0 %", "1 %", "0.15 %", "100 %"]
  """
  @spec ppm(non_neg_integer) :: String.t()
  def ppm(ppm) do
    digits = ppm |> rem(10_000) |> Integer.to_string() |> String.pad_leading(4, "0")

    case String.trim_trailing(digits, "0") do
      "" -> "#{div(ppm, 10_000)} %"
      digits -> "#{div(ppm, 10_000)}.#{digits} %"
    end
  end

  @doc """
  Returns nanoseconds in their two largest units, rounded up as a wait must be; `nil` has no end.

      iex> alias RateLimiter.Core.Numbers
      iex> Enum.map([0, 1_500_000, 52_000_000_001, 80_000_000_000, 90_000_000_000_000, nil], &Numbers.span/1)
      ["0 s", "2 ms", "53 s", "1 min 20 s", "1 d 1 h", "for ever"]
  """
  @spec span(non_neg_integer | nil) :: String.t()
  def span(nil), do: "for ever"
  def span(0), do: "0 s"
  def span(ns) when ns <= 999_000_000, do: "#{ceil_div(ns, 1_000_000)} ms"

  def span(ns) do
    seconds = ceil_div(ns, 1_000_000_000) * 1_000_000_000
    at = Enum.find_index(@units, fn {unit, _name} -> seconds >= unit end)

    case Enum.slice(@units, at, 2) do
      [{unit, name}] ->
        "#{div(seconds, unit)} #{name}"

      [{unit, name}, {small, small_name}] ->
        rounded = ceil_div(seconds, small) * small

        case rem(rounded, unit) do
          0 -> "#{div(rounded, unit)} #{name}"
          rest -> "#{div(rounded, unit)} #{name} #{div(rest, small)} #{small_name}"
        end
    end
  end

  @doc """
  Returns nanoseconds in their two largest units, rounded to the nearest.

      iex> RateLimiter.Core.Numbers.about(300_059_000_000_000)
      "3 d 11 h"
  """
  @spec about(non_neg_integer) :: String.t()
  def about(ns) do
    case Enum.find_index(@units, fn {unit, _name} -> ns >= unit end) do
      at when at in [0, 1, 2] ->
        {small, _name} = Enum.at(@units, at + 1)
        span(div(ns + div(small, 2), small) * small)

      _seconds ->
        span(ns)
    end
  end

  defp ceil_div(number, by), do: div(number + by - 1, by)

  @doc """
  Returns a moment on the clock of a time zone, and the zone.

      iex> RateLimiter.Core.Numbers.moment(1_431_857_103, 120)
      "2015-05-17 12:05:03 +0200"
  """
  @spec moment(integer, integer) :: String.t()
  def moment(unix_seconds, zone_minutes),
    do: "#{local(unix_seconds, zone_minutes)} #{zone(zone_minutes)}"

  @doc "Returns a moment on the clock of a time zone, without the zone."
  @spec local(integer, integer) :: String.t()
  def local(unix_seconds, zone_minutes) do
    (unix_seconds + zone_minutes * 60)
    |> DateTime.from_unix!()
    |> Calendar.strftime("%Y-%m-%d %H:%M:%S")
  end

  @doc "Returns a time zone as access logs write it."
  @spec zone(integer) :: String.t()
  def zone(minutes) do
    sign = if minutes < 0, do: "-", else: "+"
    sign <> two_digits(div(abs(minutes), 60)) <> two_digits(rem(abs(minutes), 60))
  end

  @doc "Returns a full hour of a day."
  @spec hour(0..24) :: String.t()
  def hour(hour), do: two_digits(hour) <> ":00"

  @doc "Returns a number below 100 with two digits."
  @spec two_digits(0..99) :: String.t()
  def two_digits(number), do: number |> Integer.to_string() |> String.pad_leading(2, "0")
end
