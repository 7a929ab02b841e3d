defmodule Lab.SimulationTest do
  # The guarantees of the control law, on seeds that were not used for its design. bench/adaptive.exs has the whole table.
  use ExUnit.Case, async: true

  alias Lab.Simulation
  alias Lab.Simulation.{Controllers, Page, Scenario, Score, Second, Size, Table}

  defp cells(keys, options \\ []) do
    Simulation.run(
      [
        scenarios: Enum.map(keys, &Scenario.find/1),
        sizes: [Size.nominal()],
        controllers: [Controllers.find(:ours)],
        seeds: [4_711],
        law: :exponential
      ]
      |> Keyword.merge(options)
    )
  end

  test "the law keeps most of what is possible where a fixed limit fails" do
    controllers = [Controllers.find(:ours), Controllers.find(:fixed)]
    cells = cells([:a, :b, :h], controllers: controllers)
    {ours, fixed} = Enum.split_with(cells, &match?({:ours, _, _}, &1.controller))

    for cell <- ours, do: assert(cell.score.goodput >= 0.88)
    for cell <- fixed, do: assert(cell.score.goodput <= 0.70)
    assert hd(ours).score.settling <= 10
  end

  test "the law does not shed load for latency that load does not cause, and says so" do
    [f, e] = cells([:f, :e])
    assert f.score.goodput >= 0.97
    audits = for {_at, %{action: :audit} = decision} <- f.decisions, do: decision.sentence
    assert Enum.any?(audits, &(&1 =~ "load-insensitive"))
    assert e.score.denied <= 0.02
  end

  test "the law recovers from a retry storm, and ignores a slow store and a false signal" do
    [i, j, l] = cells([:i, :j, :l])
    assert i.score.recovered
    assert j.score.goodput >= 0.97
    assert l.score.goodput >= 0.97

    assert Enum.any?(l.decisions, fn {_at, decision} ->
             (decision.sentence || "") =~ "is ignored"
           end)
  end

  test "every change has a reason" do
    cells = cells([:a, :c])
    assert Table.reasons(cells) =~ ~r/^(\d+) changes, \1 with a reason; \d+ times a change/
  end

  test "with priorities S5 keeps its calls at a quarter of the capacity" do
    shares = Simulation.priorities(Size.nominal(), seed: 4_711, law: :exponential)
    kept = fn how -> Enum.find(shares[how], &match?({:s5, _, _}, &1)) |> elem(2) end
    assert kept.(:priority) >= 0.97
    assert kept.(:uniform) <= 0.4
  end

  test "the fields of a score have their documented values" do
    second = fn at, good, level ->
      %Second{at: at, oracle: 10.0, good: good, asked: 20, denied: 5, level: level}
    end

    seconds = for at <- 0..39, do: second.(at, if(at in 10..14, do: 0, else: 10), 10.0)
    scenario = %Scenario{key: :a, title: "", seconds: 40, overload: {10, 40}}
    score = Score.of(seconds, scenario)

    assert_in_delta score.goodput, 35 / 40, 1.0e-9
    assert score.settling == 5
    assert score.variation == 0.0
    assert score.denied == 0.25
    assert score.recovered
  end

  test "the page is complete in one file, and shows every controller" do
    scenario = %{Scenario.find(:a) | seconds: 35}

    runs =
      for key <- [:ours, :vegas] do
        controller = Controllers.find(key)

        {seconds, decisions} =
          Simulation.trace(controller, scenario, Size.nominal(), seed: 1, law: :exponential)

        {controller, seconds, decisions, Score.of(seconds, scenario).goodput}
      end

    page = scenario |> Page.render(Size.nominal(), runs, 1) |> IO.iodata_to_binary()
    assert page =~ "<title>A: capacity -50 %, 10w/100 per second</title>"
    assert page =~ "Vegas: "
    # Both laws together and each alone, for wide and for narrow pages.
    assert length(Regex.scan(~r/<svg /, page)) == 6
    assert page =~ "The workers become half as fast after 30 s, for a minute, under 90 % load."

    assert page =~
             ~r/Answered in time, of what was possible: this library [\d.]+ %, the best other law, Vegas, [\d.]+ %\./

    assert length(Regex.scan(~r/<rect class="fault"/, page)) == 6
    refute page =~ ~r/src=|href=|http/
    # Each drawing is well-formed XML.
    for [figure] <- Regex.scan(~r/<svg .*?<\/svg>/s, page) do
      assert {_tree, []} = figure |> String.to_charlist() |> :xmerl_scan.string(quiet: true)
    end
  end

  test "each scenario says what happens, and when conditions differ from those at its start" do
    faults =
      for scenario <- Scenario.all(),
          into: %{},
          do: {scenario.key, Scenario.faults(scenario, Size.nominal(), 1)}

    assert %{
             a: [{30.0, 90.0}],
             b: [{30.0, 60.0}],
             c: [{10.0, 220.0}],
             f: [{30.0, 90.0}],
             g: [{30.0, 90.0}]
           } = faults

    assert %{h: [], i: [{30.0, 50.0}], j: [{40.0, 45.0}], l: [{30, 90}]} = faults
    assert length(faults.d) == 4

    for scenario <- Scenario.all() do
      assert scenario.about =~ ~r/^[A-Z].*\.$/
      for {from, to} <- faults[scenario.key], do: assert(from < to and to <= scenario.seconds)
    end
  end
end
