defmodule Lab.Simulation.Page do
  @moduledoc false
  # One scenario on one size as an HTML page: the calls that could be and that were answered in each second, for every
  # controller, and the decisions of this library with their reasons.

  alias Lab.Simulation.{Controllers, Scenario, Second, Size}
  alias RateLimiter.Core.Numbers
  alias RateLimiter.Terminal.{Html, Svg}

  import RateLimiter.Terminal.Html, only: [escape: 1]

  @css """
  .possible { fill: var(--line); }
  .good { fill: none; stroke: var(--admitted); stroke-width: 2; }
  .allowed { fill: none; stroke: var(--requests); stroke-width: 1.5; stroke-dasharray: 5 3; }
  .fault { fill: var(--ink); }
  .fixed { fill: none; stroke: var(--denied); stroke-width: 2; }
  .other { fill: none; stroke: var(--requests); stroke-width: 2; }
  .change { stroke: var(--denied); stroke-width: 1; stroke-dasharray: 2 3; }
  .legend .key-possible::before { background: var(--line); }
  .legend .key-good::before { background: var(--admitted); }
  .legend .key-allowed::before { background: var(--requests); }
  .legend .key-fault::before { background: var(--ink); }
  .legend .key-change::before, .legend .key-fixed::before { background: var(--denied); }
  .legend .key-other::before { background: var(--requests); }
  td.words { white-space: normal; text-align: left; }
  """

  @type run ::
          {Controllers.controller(), [Second.t()], [{float, RateLimiter.Adaptive.Decision.t()}],
           float}

  @doc "Returns the page. A run is a controller with its seconds, decisions and goodput."
  @spec render(Scenario.t(), Size.t(), [run], integer) :: iodata
  def render(scenario, size, runs, seed) do
    title = "#{letter(scenario)}: #{scenario.title}, #{size.name} per second"
    faults = Scenario.faults(scenario, size, seed)
    ticks = ticks(runs)

    Html.page(title, @css, [
      ["<header>\n<h1>", escape(title), "</h1>\n"],
      "<p>#{escape(scenario.about)} #{escape(result(runs))}</p>\n",
      "<p>#{size.workers} workers, clients wait #{round(size.deadline_ms)} ms, seed #{seed}. ",
      "Every controller gets the same calls. Possible is the smaller of mean demand and capacity; the calls of a " <>
        "second vary around the mean.</p>\n",
      "</header>\n",
      compared(runs, faults, ticks),
      legend(),
      runs |> Enum.with_index() |> Enum.map(&figure(&1, faults, ticks)),
      decisions(runs)
    ])
  end

  defp legend do
    ~s(<p class="legend"><span class="key-possible">possible</span><span class="key-good">answered in time</span>) <>
      ~s(<span class="key-fault">the fault, above</span>) <>
      ~s(<span class="key-allowed">the limit, if it is a rate</span>) <>
      ~s(<span class="key-change">a change of scale</span></p>\n)
  end

  defp result(runs) do
    shares =
      for {words, {controller, _seconds, _decisions, goodput}} <- compare(runs),
          do:
            "#{words || "the best other law, #{elem(controller, 1)},"} #{Numbers.percent(goodput)}"

    "Answered in time, of what was possible: #{Enum.join(shares, ", ")}."
  end

  # This library, the fixed limit, and the best of the others, as far as they were run.
  defp compare(runs) do
    {own, others} =
      Enum.split_with(runs, &match?({{key, _, _}, _, _, _} when key in [:ours, :fixed], &1))

    named =
      for {{key, _, _}, _, _, _} = run <- own,
          do: {%{ours: "this library", fixed: "a fixed limit"}[key], run}

    named ++ for best <- Enum.take(Enum.sort_by(others, &(-elem(&1, 3))), 1), do: {nil, best}
  end

  defp class({{:ours, _, _}, _, _, _}), do: "good"
  defp class({{:fixed, _, _}, _, _, _}), do: "fixed"
  defp class(_best_of_the_others), do: "other"

  # One figure with the lines that matter most.
  defp compared(runs, faults, ticks) do
    compared = for {_words, run} <- compare(runs), do: run
    {_controller, seconds, _decisions, _goodput} = hd(compared)

    keys =
      for {{_, title, _}, _, _, _} = run <- compared,
          do: ~s(<span class="key-#{class(run)}">#{escape(title)}</span>)

    [
      "<figure><h3>Answered in time</h3>",
      ~s(<div class="legend"><span class="key-possible">possible</span>#{keys}),
      if(faults == [], do: "", else: ~s(<span class="key-fault">the fault</span>)),
      "</div>",
      Svg.chart("compared", "Answered in time", result(runs), fn box ->
        {x, y} = scales(seconds, ticks, box)

        [
          frame(seconds, faults, ticks, box),
          for(
            {_, seconds, _, _} = run <- Enum.reverse(compared),
            do: path(class(run), seconds, & &1.good, x, y)
          )
        ]
      end),
      "</figure>\n"
    ]
  end

  # One axis for all, so that they can be compared.
  defp ticks(runs) do
    levels =
      for {_controller, seconds, _decisions, _goodput} <- runs,
          second <- seconds,
          do: max(second.oracle, second.good)

    levels |> Enum.max() |> ceil() |> Svg.ticks()
  end

  defp scales(seconds, ticks, box) do
    highest = List.last(ticks)
    x = fn at -> box.left + (box.right - box.left) * at / length(seconds) end
    {x, fn value -> Svg.y(box, min(value, highest), highest) end}
  end

  defp figure({{{key, title, _module}, seconds, decisions, goodput}, index}, faults, ticks) do
    words = "#{title}: #{Numbers.percent(goodput)} of what was possible"

    [
      ["<figure><h3>", escape(words), "</h3>"],
      Svg.chart("m#{index}", title, words, fn box ->
        {x, y} = scales(seconds, ticks, box)

        [
          frame(seconds, faults, ticks, box),
          path("good", seconds, & &1.good, x, y),
          if(key in [:ours, :fixed], do: path("allowed", seconds, & &1.level, x, y), else: []),
          for({at, %{action: action}} <- decisions, action != :hold, do: mark(at, x, box))
        ]
      end),
      "</figure>\n"
    ]
  end

  # Axes, what was possible, and a bar above the faults.
  defp frame(seconds, faults, ticks, box) do
    {x, y} = scales(seconds, ticks, box)
    span = length(seconds)
    labels = (box.right - box.left) / 50
    step = Enum.find([30, 60], 120, &(span / &1 <= labels))

    [
      Svg.rows(box, Enum.map(ticks, &{&1, to_string(&1)}), List.last(ticks)),
      area(seconds, x, y, box),
      for(
        {from, to} <- faults,
        do: Svg.rect("fault", x.(from), box.top - 10, x.(min(to, span)) - x.(from), 5)
      ),
      for(at <- 0..span//step, do: Svg.text(x.(at), box.bottom + 20, "#{at} s", "", "middle"))
    ]
  end

  defp area(seconds, x, y, box) do
    tops =
      for second <- seconds,
          at <- [second.at, second.at + 1],
          do: {x.(at), y.(second.oracle)}

    points = [{box.left, box.bottom} | tops] ++ [{x.(length(seconds)), box.bottom}]
    ~s(<polygon class="possible" points="#{Svg.points(points)}"/>)
  end

  defp path(class, seconds, value, x, y) do
    points =
      for second <- seconds,
          level = value.(second),
          do: {x.(second.at + 0.5), y.(level)}

    ~s(<polyline class="#{class}" points="#{Svg.points(points)}"/>)
  end

  defp mark(at, x, box),
    do: Svg.line("change", x.(at / 1_000), box.top, x.(at / 1_000), box.bottom)

  defp decisions(runs) do
    for {{:ours, _title, _module}, _seconds, decisions, _goodput} <- runs, decisions != [] do
      [
        ~s(<h2>Decisions of this library</h2>\n<div class="wide"><table><thead><tr><th>at</th><th>action</th>),
        "<th>scale</th><th>why</th></tr></thead><tbody>\n",
        for {at, decision} <- decisions do
          [
            "<tr><td>#{round(at / 1_000)} s</td><td>#{decision.held_by || decision.action}</td>",
            "<td>#{Numbers.number(decision.scale / 1)}</td><td class=\"words\">",
            [escape(decision.sentence || ""), "</td></tr>\n"]
          ]
        end,
        "</tbody></table></div>\n"
      ]
    end
  end

  defp letter(%{key: key}), do: key |> to_string() |> String.upcase()
end
