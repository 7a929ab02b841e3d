defmodule Lab.Demo.Storm do
  @moduledoc false
  # A minute of one call per second to every subsystem, and ten seconds of 150 calls per second in the middle. The clock is
  # simulated, so the minute is short and always the same; the limiters are those that serve applications.

  alias Lab.Demo
  alias RateLimiter.Core.Numbers
  alias RateLimiter.Terminal.{Screen, Text}

  @subsystems [
    s1: {"operations", [limit: 100, per: :second]},
    s2: {"coordination", [limit: 50, per: :second]},
    s3: {"control", [limit: 20, per: :second]},
    s4: {"intelligence", [limit: 100, per: :minute]},
    s5: {"policy", [limit: 50, per: {5, :minute}]}
  ]
  @seconds 60
  @storm 20..29
  @storm_calls 150
  @frame_ms 40

  @typep row :: %{
           admitted: [non_neg_integer],
           denied: [non_neg_integer],
           longest_wait_ms: non_neg_integer
         }

  @doc "Plays the storm, live on a terminal, and sums it up."
  @spec show(Screen.t()) :: :ok
  def show(screen) do
    # The limiters end with the process that starts them.
    fn -> play(screen) end |> Task.async() |> Task.await(:infinity)
  end

  defp play(screen) do
    Demo.title(screen, "A storm: ten seconds of 150 calls a second to each of five subsystems")
    :ok = RateLimiter.Test.start(limiters: limiters())

    blank =
      Map.new(@subsystems, fn {name, _} ->
        {name, %{admitted: [], denied: [], longest_wait_ms: 0}}
      end)

    rows =
      Enum.reduce(0..(@seconds - 1), blank, fn second, rows ->
        rows = second(rows, calls(second))
        if screen.color, do: frame(rows, second, screen)
        rows
      end)

    unless screen.color, do: rows |> draw(screen) |> IO.write()
    rows |> totals(screen) |> IO.puts()
  end

  defp calls(second), do: if(second in @storm, do: @storm_calls, else: 1)

  defp limiters, do: for({name, {_, window}} <- @subsystems, do: {name, windows: [limit: window]})

  # The calls are spread over the second.
  defp second(rows, calls) do
    rows =
      Map.new(rows, fn {name, row} ->
        {name, %{row | admitted: [0 | row.admitted], denied: [0 | row.denied]}}
      end)

    Enum.reduce(1..calls, rows, fn call, rows ->
      rows = Map.new(rows, fn {name, row} -> {name, call(name, row)} end)
      RateLimiter.Test.advance(div(call * 1_000, calls) - div((call - 1) * 1_000, calls))
      rows
    end)
  end

  @spec call(atom, row) :: row
  defp call(name, row) do
    case RateLimiter.check_and_track(name, :all, :limit) do
      {:ok, _usage} ->
        Map.update!(row, :admitted, fn [now | before] -> [now + 1 | before] end)

      {:error, :rate_limited, usage} ->
        row
        |> Map.update!(:denied, fn [now | before] -> [now + 1 | before] end)
        |> Map.update!(:longest_wait_ms, &max(&1, usage.retry_after_ms))
    end
  end

  # Drawn over the frame before it.
  defp frame(rows, second, screen) do
    back = if second > 0, do: IO.ANSI.cursor_up(3 * length(@subsystems) + 1), else: ""
    IO.write([back | draw(rows, screen)])
    Process.sleep(@frame_ms)
  end

  defp draw(rows, screen) do
    for {name, {meaning, _window}} <- @subsystems do
      %{admitted: admitted, denied: denied} = rows[name]
      title = Screen.style(screen, :bold, Text.fit(Atom.to_string(name), 3))

      [
        [title, Text.fit(limit(name), 10), "admit ", strip(admitted, :green, screen), "\n"],
        [Text.fit(meaning, 13), "deny  ", strip(denied, :red, screen), "\n\n"]
      ]
    end ++ [scale(screen), "\n"]
  end

  defp limit(name) do
    {_meaning, window} = @subsystems[name]
    window |> RateLimiter.Core.Limit.new!([]) |> RateLimiter.Core.LimitText.rate_text()
  end

  defp strip(values, colour, screen) do
    bars = values |> Enum.reverse() |> Enum.map(&Screen.height(screen, &1, @storm_calls))
    Screen.style(screen, colour, bars)
  end

  defp scale(screen) do
    marks = Enum.map_join(0..5, &Text.fit("#{&1 * 10} s", 10))
    Screen.style(screen, :faint, [String.duplicate(" ", 19), String.trim_trailing(marks)])
  end

  defp totals(rows, screen) do
    titles = [
      "   ",
      Text.fit("limit", 10),
      Enum.map(~w(calls admitted denied), &Screen.right(&1, 10)),
      Screen.right("longest wait", 15)
    ]

    [
      "\n",
      Screen.style(screen, :faint, titles),
      for {name, _} <- @subsystems do
        row = rows[name]
        [admitted, denied] = Enum.map([row.admitted, row.denied], &Enum.sum/1)

        [
          ["\n", Text.fit(Atom.to_string(name), 3), Text.fit(limit(name), 10)],
          [
            Screen.right(Numbers.number(admitted + denied), 10),
            Screen.right(Numbers.number(admitted), 10)
          ],
          Screen.style(screen, :red, Screen.right(Numbers.number(denied), 10)),
          Screen.right(Numbers.span(row.longest_wait_ms * 1_000_000), 15)
        ]
      end,
      "\n\nEach admits a burst of its own limit, then exactly its rate: s1 admits most of\n",
      "the storm; s5 is used up at once, then admits one call in six seconds."
    ]
  end
end
