defmodule Lab.Demo.Pain do
  @moduledoc false
  # Two minutes of five subsystems that share a database, which loses three quarters of its capacity for half a minute. A
  # watcher reports the load as pain; the control law does the rest.
  #
  # Clock and database are simulated; subsystems, signals and laws are those that serve applications.

  alias Lab.Demo
  alias RateLimiter.{Algedonic, Test, VSM}
  alias RateLimiter.Core.Numbers
  alias RateLimiter.Terminal.{Screen, Text}

  @seconds 120
  @column 2
  @broken 20..49
  @capacity 200
  @left 50
  @frame_ms 40

  # Calls per second, and the role of the subsystem.
  @subsystems [
    s1: {"operations", 120},
    s2: {"coordination", 45},
    s3: {"control", 15},
    s4: {"intelligence", 1},
    s5: {"policy", 0.1}
  ]

  @doc "Plays the two minutes, and prints why each change happened."
  @spec show(Screen.t()) :: :ok
  def show(screen) do
    fn -> play(screen) end |> Task.async() |> Task.await(:infinity)
  end

  defp play(screen) do
    Demo.title(
      screen,
      "Pain: five subsystems share a database that loses three quarters of its capacity"
    )

    :ok = Test.start(vsm: [subsystems: subsystems()])

    blank =
      Map.new([:db | Keyword.keys(@subsystems)], &{&1, %{calls: [], admitted: [], scale: []}})

    {rows, _owed} =
      Enum.reduce(0..(@seconds - 1), {blank, %{}}, fn second, {rows, owed} ->
        {rows, owed} = second(rows, owed, second)
        if screen.color and rem(second, @column) == 1, do: frame(rows, second, screen)
        {rows, owed}
      end)

    unless screen.color, do: rows |> draw(screen) |> IO.write()
    rows |> totals(screen) |> IO.puts()
    IO.puts(reasons(screen))
  end

  defp subsystems do
    [db: [limit: @capacity, per: :second, shared: true]] ++
      for({name, _} <- @subsystems, do: {name, [parent: :db] ++ limit(name)})
  end

  # The limits in normal operation: slightly more than the calls.
  defp limit(:s1), do: [limit: 130, per: :second, priority: 1]
  defp limit(:s2), do: [limit: 50, per: :second, priority: 2]
  defp limit(:s3), do: [limit: 20, per: :second, priority: 4]
  defp limit(_usual), do: []

  defp second(rows, owed, second) do
    {rows, owed} = Enum.reduce(@subsystems, {rows, owed}, &call(&1, &2))
    load = for({name, _} <- @subsystems, do: hd(rows[name].admitted)) |> Enum.sum()
    watch(load, if(second in @broken, do: @left, else: @capacity))
    Test.advance(:second)
    metrics = VSM.subsystem_metrics()

    {Map.new(rows, fn {name, row} -> {name, %{row | scale: [metrics[name].scale | row.scale]}} end),
     owed}
  end

  # A rate of 0.1 is one call in ten seconds.
  defp call({name, {_meaning, rate}}, {rows, owed}) do
    due = Map.get(owed, name, 0.999) + rate
    calls = trunc(due)

    admitted =
      Enum.count(
        List.duplicate(name, calls),
        &match?({:ok, _}, VSM.check_subsystem_limit(&1, :demo))
      )

    row = %{
      rows[name]
      | calls: [calls | rows[name].calls],
        admitted: [admitted | rows[name].admitted]
    }

    {Map.put(rows, name, row), Map.put(owed, name, due - calls)}
  end

  # Pain grows with the overload; free capacity is pleasure.
  defp watch(load, capacity) do
    pain = 0.8 * :math.log(max(load, 1) / capacity) + 0.15

    if pain > 0.15,
      do:
        Algedonic.pain(:db, min(pain, 1.0),
          source: :pool,
          reason: "#{load} calls for #{capacity} places"
        ),
      else: Algedonic.pain(:db, 0.0, source: :pool)

    if pain < 0, do: Algedonic.pleasure(:db, min(-pain, 1.0), source: :pool)
  end

  defp frame(rows, second, screen) do
    back = if second > @column, do: IO.ANSI.cursor_up(3 * length(@subsystems) + 4), else: ""
    IO.write([back | draw(rows, screen)])
    Process.sleep(@frame_ms)
  end

  defp draw(rows, screen) do
    [database(rows.db, screen)] ++
      for {name, {meaning, rate}} <- @subsystems do
        strips(Atom.to_string(name), meaning, "#{rate}/s", rows[name], screen)
      end ++ [axis(screen), "\n"]
  end

  defp database(row, screen) do
    title = Screen.style(screen, :bold, Text.fit("db", 3))
    [title, Text.fit("database", 10), "limit ", strip(row.scale, 1.0, :yellow, screen), "\n\n"]
  end

  defp strips(name, meaning, rate, row, screen) do
    title = Screen.style(screen, :bold, Text.fit(name, 3))

    [
      [title, Text.fit(rate, 10), "limit ", strip(row.scale, 1.0, :yellow, screen), "\n"],
      [Text.fit(meaning, 13), "admit ", strip(shares(row), 1.0, :green, screen), "\n\n"]
    ]
  end

  # Shares of the calls. A second without calls keeps the share before it.
  defp shares(%{calls: []}), do: []

  defp shares(%{calls: asked, admitted: admitted}) do
    asked
    |> Enum.zip(admitted)
    |> Enum.reverse()
    |> Enum.scan({1.0, nil}, fn
      {0, _none}, last -> last
      {asked, admitted}, _last -> {admitted / asked, nil}
    end)
    |> Enum.map(&share/1)
    |> Enum.reverse()
  end

  defp share({share, nil}), do: share
  defp share(_pair), do: 1.0

  defp strip(values, whole, colour, screen) do
    bars =
      values
      |> Enum.reverse()
      |> Enum.chunk_every(@column)
      |> Enum.map(&Screen.height(screen, Enum.sum(&1) / length(&1), whole))

    Screen.style(screen, colour, [" " | bars])
  end

  defp axis(screen) do
    marks = Enum.map_join(0..5, &Text.fit("#{&1 * 20} s", 10))
    indent = String.duplicate(" ", 20)
    legend = "a full bar is 100 %, of the limit or of the calls"
    Screen.style(screen, :faint, [indent, String.trim_trailing(marks), "\n", indent, legend])
  end

  defp totals(rows, screen) do
    titles = [
      "   ",
      Enum.map(["calls", "admitted", "while broken", "lowest limit"], &Screen.right(&1, 14))
    ]

    [
      "\n",
      Screen.style(screen, :faint, titles),
      for {name, _} <- @subsystems do
        row = rows[name]

        cells = [
          Numbers.number(Enum.sum(row.calls)),
          Numbers.number(Enum.sum(row.admitted)),
          percent(while_broken(row.admitted), while_broken(row.calls)),
          Numbers.percent(Float.round(Enum.min(row.scale) / 1, 2))
        ]

        ["\n", Text.fit(Atom.to_string(name), 3), Enum.map(cells, &Screen.right(&1, 14))]
      end
    ]
  end

  defp while_broken(values), do: values |> Enum.reverse() |> Enum.slice(@broken) |> Enum.sum()

  defp percent(_part, 0), do: "-"
  defp percent(part, whole), do: Numbers.percent(Float.round(part / whole, 2))

  # The explanation, in order of time.
  defp reasons(screen) do
    changes = VSM.explain(:db) |> Enum.reverse()

    [
      "\n",
      Screen.style(
        screen,
        :faint,
        "RateLimiter.VSM.explain(:db): the first and the last changes"
      ),
      for change <- shown(changes) do
        at = Calendar.strftime(change.at, "%M:%S")
        lines = Text.wrap(change.sentence <> steps(change), Screen.columns() - 7)
        ["\n", at, "  ", Enum.intersperse(lines, "\n       ")]
      end
    ]
  end

  defp shown(changes) when length(changes) <= 8, do: changes
  defp shown(changes), do: Enum.take(changes, 6) ++ Enum.take(changes, -2)

  defp steps(%{steps: 1}), do: ""

  defp steps(change) do
    " (#{change.steps} steps, from #{Numbers.number(change.from / 1)} at #{Calendar.strftime(change.since, "%M:%S")})"
  end
end
