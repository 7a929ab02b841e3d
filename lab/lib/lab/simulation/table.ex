defmodule Lab.Simulation.Table do
  @moduledoc false
  # Cells as a table for a terminal, which is also one in Markdown.

  alias Lab.Simulation

  @title 15

  @doc "Goodput of every cell, a block a size; then all sizes together."
  @spec goodput([Simulation.cell()]) :: iodata
  def goodput(cells) do
    sizes = cells |> Enum.map(& &1.size) |> Enum.uniq()

    blocks =
      Enum.map(sizes, fn size -> block(Enum.filter(cells, &(&1.size == size)), size.name) end)

    if length(sizes) > 1, do: [blocks, together(cells)], else: blocks
  end

  @doc "How fast, how steady, how needlessly: for every member, over all sizes of these cells."
  @spec conduct([Simulation.cell()]) :: iodata
  def conduct(cells) do
    columns = [
      {"settles in A", fn cells -> seconds(of(cells, :a, & &1.settling)) end},
      {"varies in H", fn cells -> percent(of(cells, :h, & &1.variation)) end},
      {"denied in E", fn cells -> percent(of(cells, :e, & &1.denied)) end},
      {"goodput in F", fn cells -> number(of(cells, :f, & &1.goodput)) end}
    ]

    rows =
      for {member, cells} <- by_member(cells),
          do: [elem(member, 1) | Enum.map(columns, fn {_title, value} -> value.(cells) end)]

    lines(["" | Enum.map(columns, &elem(&1, 0))], rows)
  end

  @doc "What each subsystem keeps."
  @spec priorities(%{atom => [{atom, float, float}]}) :: iodata
  def priorities(shares) do
    rows =
      for {name, classes} <- Enum.sort(shares) do
        [
          to_string(name)
          | Enum.map(classes, fn {_, all, settled} -> "#{percent(all)} #{percent(settled)}" end)
        ]
      end

    lines(["", "s1", "s2", "s3", "s4", "s5"], rows)
  end

  @doc "What of our changes is explained, and what of F is named, in words."
  @spec reasons([Simulation.cell()]) :: String.t()
  def reasons(cells) do
    ours = Enum.filter(cells, &match?({:ours, _, _}, &1.member))
    decisions = for cell <- ours, {_at, decision} <- cell.decisions, do: decision
    changes = Enum.filter(decisions, &(&1.action != :hold))
    told = Enum.count(changes, &(is_binary(&1.sentence) and &1.sentence != ""))
    held = length(decisions) - length(changes)

    "#{length(changes)} changes, #{told} with a reason; #{held} times it wanted to change and says why it did not.\n"
  end

  defp block(cells, title) do
    scenarios = cells |> Enum.map(& &1.scenario.key) |> Enum.uniq()
    header = [title] ++ Enum.map(scenarios, &letter/1) ++ ["mean", "worst"]

    rows =
      for {member, cells} <- by_member(cells) do
        values = Enum.map(cells, & &1.score.goodput)

        [elem(member, 1)] ++
          Enum.map(values, &number/1) ++ [number(mean(values)), number(Enum.min(values))]
      end

    [lines(header, rows), "\n"]
  end

  defp together(cells) do
    rows =
      for {member, cells} <- by_member(cells) do
        values = Enum.map(cells, & &1.score.goodput)
        [elem(member, 1), number(mean(values)), number(Enum.min(values))]
      end

    [lines(["all sizes", "mean", "worst"], rows), "\n"]
  end

  # In the order of the cells.
  defp by_member(cells) do
    for member <- cells |> Enum.map(& &1.member) |> Enum.uniq(),
        do: {member, Enum.filter(cells, &(&1.member == member))}
  end

  defp of(cells, key, field) do
    values = for cell <- cells, cell.scenario.key == key, value = field.(cell.score), do: value
    if values != [], do: mean(values)
  end

  defp lines([title | columns], rows) do
    widths = for column <- columns, do: max(5, String.length(column))
    [line([title | columns], widths), rule(widths), Enum.map(rows, &line(&1, widths))]
  end

  defp line([title | values], widths) do
    columns =
      for {value, width} <- Enum.zip(values, widths),
          do: [" ", String.pad_leading(value, width), " |"]

    ["| ", String.pad_trailing(title, @title), " |", columns, "\n"]
  end

  defp rule(widths) do
    columns = for width <- widths, do: [String.duplicate("-", width + 1), ":|"]
    ["|", String.duplicate("-", @title + 2), "|", columns, "\n"]
  end

  defp letter(key), do: key |> to_string() |> String.upcase()
  defp mean(values), do: Enum.sum(values) / length(values)
  defp number(nil), do: "-"
  defp number(value), do: :erlang.float_to_binary(value * 1.0, decimals: 2)
  defp percent(nil), do: "-"
  defp percent(value), do: :erlang.float_to_binary(value * 100.0, decimals: 1) <> " %"
  defp seconds(nil), do: "-"
  defp seconds(value), do: :erlang.float_to_binary(value * 1.0, decimals: 1) <> " s"
end
