defmodule RateLimiter.Replay.Page.Timeline do
  @moduledoc false
  # Admitted and denied over time, as columns one on the other.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Replay.Verdict
  alias RateLimiter.Terminal.Svg

  @columns 120

  # Steps between the moments named below the columns, in seconds.
  @steps [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400] ++
           Enum.map([2, 5, 10, 30, 90, 365, 1_825], &(&1 * 86_400))

  @doc "The drawing."
  @spec render(Verdict.t(), integer, String.t()) :: iodata
  def render(%Verdict{} = verdict, zone, id) do
    {width, columns} = joined(verdict.column_seconds, verdict.columns, zone)
    box = Svg.box()

    ticks =
      columns
      |> Enum.map(fn {_, admitted, denied} -> admitted + denied end)
      |> Enum.max()
      |> Svg.ticks()

    highest = List.last(ticks)
    {first, _, _} = hd(columns)
    span = width * length(columns)
    x = fn second -> box.left + (box.right - box.left) * (second - first) / span end

    Svg.drawing(id, "Admitted and denied over time", description(verdict, width), [
      Svg.rows(box, Enum.map(ticks, &{&1, Numbers.number(&1)}), highest),
      Enum.map(columns, &column(&1, {box, x, width, highest, zone})),
      moments(first, span, zone, box, x)
    ])
  end

  @doc "How long a column is, in words."
  @spec width_words(Verdict.t(), integer) :: String.t()
  def width_words(verdict, zone) do
    {width, _} = joined(verdict.column_seconds, verdict.columns, zone)
    Numbers.span(width * 1_000_000_000)
  end

  defp column({start, admitted, denied}, {box, x, width, highest, zone}) do
    left = x.(start)
    full = x.(start + width) - left
    # A gap between columns, where there is room for one.
    wide = if full > 4, do: full - 1, else: full
    foot = Svg.y(box, admitted, highest)
    # One denied in a thousand must still be seen.
    head = if denied > 0, do: min(Svg.y(box, admitted + denied, highest), foot - 2.5), else: foot

    [
      Svg.rect("admitted", left, foot, wide, box.bottom - foot),
      Svg.rect("denied", left, head, wide, foot - head),
      Svg.rect(
        "hover",
        left,
        box.top,
        full,
        box.bottom - box.top,
        Svg.tip(
          "#{Numbers.local(start, zone)}: #{Numbers.number(admitted)} admitted, #{Numbers.number(denied)} denied"
        )
      )
    ]
  end

  # The columns come in up to 300; neighbours are joined until they are wide enough to be seen.
  defp joined(width, columns, zone) do
    factor = ceil(length(columns) / @columns)
    wide = width * factor

    joined =
      columns
      |> Enum.chunk_by(fn {start, _, _} -> Integer.floor_div(start + zone * 60, wide) end)
      |> Enum.map(fn [{start, _, _} | _] = chunk ->
        {start - Integer.mod(start + zone * 60, wide), sum(chunk, 1), sum(chunk, 2)}
      end)

    {wide, joined}
  end

  defp sum(columns, at), do: columns |> Enum.map(&elem(&1, at)) |> Enum.sum()

  defp moments(first, span, zone, box, x) do
    step = Enum.find(@steps, List.last(@steps), &(span / &1 <= 8))
    local = first + zone * 60
    start = first + Integer.mod(-local, step)

    for second <- start..(first + span)//step do
      at = x.(second)

      [
        Svg.line("axis", at, box.bottom, at, box.bottom + 5),
        if(at < box.right - 24,
          do: Svg.text(at, box.bottom + 20, "middle", name(second + zone * 60, step)),
          else: []
        )
      ]
    end
  end

  defp name(local, step) do
    moment = DateTime.from_unix!(local)

    cond do
      step >= 300 * 86_400 -> Calendar.strftime(moment, "%Y")
      rem(local, 86_400) == 0 -> Calendar.strftime(moment, "%-d %b")
      step >= 60 -> Calendar.strftime(moment, "%H:%M")
      true -> Calendar.strftime(moment, "%H:%M:%S")
    end
  end

  defp description(verdict, width) do
    "Columns of #{Numbers.span(width * 1_000_000_000)}. In all #{Numbers.number(verdict.admitted)} admitted " <>
      "and #{Numbers.number(verdict.denied)} denied."
  end
end
