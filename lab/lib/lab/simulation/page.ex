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
  .change { stroke: var(--denied); stroke-width: 1; stroke-dasharray: 2 3; }
  .legend .key-possible::before { background: var(--line); }
  .legend .key-good::before { background: var(--admitted); }
  .legend .key-allowed::before { background: var(--requests); }
  .legend .key-change::before { background: var(--denied); }
  td.words { white-space: normal; text-align: left; }
  """

  @type run ::
          {Controllers.controller(), [Second.t()], [{float, RateLimiter.Adaptive.Decision.t()}],
           float}

  @doc "Returns the page. A run is a controller with its seconds, decisions and goodput."
  @spec render(Scenario.t(), Size.t(), [run], integer) :: iodata
  def render(scenario, size, runs, seed) do
    title = "#{letter(scenario)}: #{scenario.title}, #{size.name} per second"

    Html.page(title, @css, [
      ["<header>\n<h1>", escape(title), "</h1>\n"],
      "<p>#{size.workers} workers, clients wait #{round(size.deadline_ms)} ms, seed #{seed}. ",
      "Every controller gets the same calls. Possible is the smaller of mean demand and capacity; the calls of a " <>
        "second vary around the mean.</p>\n",
      legend(),
      "</header>\n",
      figures(runs),
      decisions(runs)
    ])
  end

  defp legend do
    ~s(<p class="legend"><span class="key-possible">possible</span><span class="key-good">answered in time</span>) <>
      ~s(<span class="key-allowed">the limit, if it is a rate</span>) <>
      ~s(<span class="key-change">a change of scale</span></p>\n)
  end

  # One axis for all, so that they can be compared.
  defp figures(runs) do
    levels =
      for {_controller, seconds, _decisions, _goodput} <- runs,
          second <- seconds,
          do: max(second.oracle, second.good)

    ticks = levels |> Enum.max() |> ceil() |> Svg.ticks()
    runs |> Enum.with_index() |> Enum.map(&figure(&1, ticks))
  end

  defp figure({{{key, title, _module}, seconds, decisions, goodput}, index}, ticks) do
    box = Svg.box()
    highest = List.last(ticks)
    span = length(seconds)
    x = fn at -> box.left + (box.right - box.left) * at / span end
    y = fn value -> Svg.y(box, min(value, highest), highest) end
    words = "#{title}: #{Numbers.percent(goodput)} of what was possible"

    [
      ["<figure><h3>", escape(words), "</h3>"],
      Svg.drawing("m#{index}", title, words, [
        Svg.rows(box, Enum.map(ticks, &{&1, to_string(&1)}), highest),
        area(seconds, x, y, box),
        path("good", seconds, & &1.good, x, y),
        if(key in [:ours, :fixed], do: path("allowed", seconds, & &1.level, x, y), else: []),
        for({at, %{action: action}} <- decisions, action != :hold, do: mark(at, x, box)),
        for(at <- 0..span//30, do: Svg.text(x.(at), box.bottom + 20, "#{at} s", "", "middle"))
      ]),
      "</figure>\n"
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
