defmodule Lab.SimulationTest do
  # What the law promises, on seeds that nothing was chosen by. The whole table is bench/adaptive.exs.
  use ExUnit.Case, async: true

  alias Lab.Simulation
  alias Lab.Simulation.{Cast, Page, Scenario, Score, Second, Size, Table}

  defp cells(keys, options \\ []) do
    Simulation.run(
      [
        scenarios: Enum.map(keys, &Scenario.find/1),
        sizes: [Size.nominal()],
        members: [Cast.find(:ours)],
        seeds: [4_711],
        law: :exponential
      ]
      |> Keyword.merge(options)
    )
  end

  test "the law keeps nearly all that is possible, where a fixed limit drowns" do
    members = [Cast.find(:ours), Cast.find(:fixed)]
    cells = cells([:a, :b, :h], members: members)
    {ours, fixed} = Enum.split_with(cells, &match?({:ours, _, _}, &1.member))

    for cell <- ours, do: assert(cell.score.goodput >= 0.88)
    for cell <- fixed, do: assert(cell.score.goodput <= 0.70)
    assert hd(ours).score.settling <= 10
  end

  test "what is not caused by load is not shed, and named" do
    [f, e] = cells([:f, :e])
    assert f.score.goodput >= 0.97
    audits = for {_at, %{action: :audit} = decision} <- f.decisions, do: decision.sentence
    assert Enum.any?(audits, &(&1 =~ "load-insensitive"))
    assert e.score.denied <= 0.02
  end

  test "it leaves a storm of retries, shrugs at a slow store, and does not believe a liar" do
    [i, j, l] = cells([:i, :j, :l])
    assert i.score.recovered
    assert j.score.goodput >= 0.97
    assert l.score.goodput >= 0.97

    assert Enum.any?(l.decisions, fn {_at, decision} ->
             (decision.sentence || "") =~ "not heard"
           end)
  end

  test "every change has its reason" do
    cells = cells([:a, :c])
    assert Table.reasons(cells) =~ ~r/^(\d+) changes, \1 with a reason; \d+ times it wanted/
  end

  test "by priority S5 keeps its calls at a quarter of the capacity" do
    shares = Simulation.priorities(Size.nominal(), seed: 4_711, law: :exponential)
    kept = fn how -> Enum.find(shares[how], &match?({:s5, _, _}, &1)) |> elem(2) end
    assert kept.(:priority) >= 0.97
    assert kept.(:uniform) <= 0.4
  end

  test "a score is what it says" do
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

  test "a page needs nothing else, and shows every member" do
    scenario = %{Scenario.find(:a) | seconds: 35}

    runs =
      for key <- [:ours, :vegas] do
        member = Cast.find(key)

        {seconds, decisions} =
          Simulation.trace(member, scenario, Size.nominal(), seed: 1, law: :exponential)

        {member, seconds, decisions, Score.of(seconds, scenario).goodput}
      end

    page = scenario |> Page.render(Size.nominal(), runs, 1) |> IO.iodata_to_binary()
    assert page =~ "<title>A: capacity -50 %, 10w/100 per second</title>"
    assert page =~ "Vegas: "
    assert length(Regex.scan(~r/<svg /, page)) == 2
    refute page =~ ~r/src=|href=|http/
    # As XML it is well formed, but for what HTML leaves open.
    for [figure] <- Regex.scan(~r/<svg .*?<\/svg>/s, page) do
      assert {_tree, []} = figure |> String.to_charlist() |> :xmerl_scan.string(quiet: true)
    end
  end
end
