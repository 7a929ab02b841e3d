defmodule Lab.Simulation.Table do
  @moduledoc false
  # Cells as Markdown tables for a terminal.

  alias Lab.Simulation
  alias Lab.Simulation.Scenario
  alias RateLimiter.Core.Numbers

  @title 15

  @doc "Returns the goodput of every cell, one table for each size, and one for all sizes."
  @spec goodput([Simulation.cell()]) :: iodata
  def goodput(cells) do
    sizes = cells |> Enum.map(& &1.size) |> Enum.uniq()

    blocks =
      Enum.map(sizes, fn size -> block(Enum.filter(cells, &(&1.size == size)), size.name) end)

    if length(sizes) > 1, do: [blocks, together(cells)], else: blocks
  end

  @doc """
  Returns the goodput of every controller over random cells: mean, worst, and the least difference from the best other
  controller in a cell, with the title of that cell.
  """
  @spec random([Simulation.cell()]) :: iodata
  def random(cells) do
    rows =
      for {{_key, title, _module} = controller, own} <- by_controller(cells) do
        values = Enum.map(own, & &1.score.goodput)
        {least, cell} = own |> Enum.map(&{ahead(&1, cells), &1}) |> Enum.min_by(&elem(&1, 0))
        {controller, [title, number(mean(values)), number(Enum.min(values)), number(least)], cell}
      end

    table = lines(["", "mean", "worst", "beside the best"], Enum.map(rows, &elem(&1, 1)))

    furthest =
      for {{:ours, title, _module}, _row, %{scenario: scenario, size: size}} <- rows,
          do: "\nFurthest behind, #{title}: #{scenario.key}, #{size.name}, #{scenario.title}\n"

    [table, furthest]
  end

  defp ahead(cell, cells) do
    others =
      for %{scenario: %{key: key}} = other <- cells,
          key == cell.scenario.key and other.controller != cell.controller,
          do: other.score.goodput

    cell.score.goodput - Enum.max(others, fn -> 0.0 end)
  end

  @doc "Returns settling, variation and needless denials of every controller, over all sizes of these cells."
  @spec conduct([Simulation.cell()]) :: iodata
  def conduct(cells) do
    columns = [
      {"settling in A", &settling/1},
      {"variation in H", fn cells -> percent(of(cells, :h, & &1.variation)) end},
      {"denied in E", fn cells -> percent(of(cells, :e, & &1.denied)) end},
      {"goodput in F", fn cells -> number(of(cells, :f, & &1.goodput)) end}
    ]

    rows =
      for {controller, cells} <- by_controller(cells),
          do: [elem(controller, 1) | Enum.map(columns, fn {_title, value} -> value.(cells) end)]

    lines(["" | Enum.map(columns, &elem(&1, 0))], rows)
  end

  @doc "Returns the share of its calls that each subsystem keeps."
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

  @doc "Returns a sentence about the explanations of this library's changes."
  @spec reasons([Simulation.cell()]) :: String.t()
  def reasons(cells) do
    ours = Enum.filter(cells, &match?({:ours, _, _}, &1.controller))
    decisions = for cell <- ours, {_at, decision} <- cell.decisions, do: decision
    changes = Enum.filter(decisions, &(&1.action != :hold))
    explained = Enum.count(changes, &(is_binary(&1.sentence) and &1.sentence != ""))
    held = length(decisions) - length(changes)

    "#{length(changes)} changes, #{explained} with a reason; #{held} times a change was held back, with the reason.\n"
  end

  defp block(cells, title) do
    scenarios = cells |> Enum.map(& &1.scenario.key) |> Enum.uniq()
    header = [title] ++ Enum.map(scenarios, &letter/1) ++ ["mean", "worst"]

    rows =
      for {controller, cells} <- by_controller(cells) do
        values = Enum.map(cells, & &1.score.goodput)

        [elem(controller, 1)] ++
          Enum.map(values, &number/1) ++ [number(mean(values)), number(Enum.min(values))]
      end

    [lines(header, rows), "\n"]
  end

  defp together(cells) do
    rows =
      for {controller, cells} <- by_controller(cells) do
        values = Enum.map(cells, & &1.score.goodput)
        [elem(controller, 1), number(mean(values)), number(Enum.min(values))]
      end

    [lines(["all sizes", "mean", "worst"], rows), "\n"]
  end

  defp by_controller(cells) do
    for controller <- cells |> Enum.map(& &1.controller) |> Enum.uniq(),
        do: {controller, Enum.filter(cells, &(&1.controller == controller))}
  end

  # A law that never settles has the length of the overload.
  defp settling(cells) do
    {from, to} = Scenario.find(:a).overload
    settling = of(cells, :a, & &1.settling)
    if settling == to - from, do: "never", else: seconds(settling)
  end

  defp of(cells, key, field) do
    values = for cell <- cells, cell.scenario.key == key, value = field.(cell.score), do: value
    if values != [], do: mean(values)
  end

  defp lines([title | columns], rows) do
    widths =
      for {column, index} <- Enum.with_index(columns, 1) do
        [column | Enum.map(rows, &Enum.at(&1, index))]
        |> Enum.map(&String.length/1)
        |> Enum.max()
        |> max(5)
      end

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
  defp number(value), do: Numbers.decimal(value, 2)
  defp percent(nil), do: "-"
  defp percent(value), do: Numbers.percent(value)
  defp seconds(nil), do: "-"
  defp seconds(value), do: Numbers.decimal(value, 1) <> " s"
end
