# The control law beside those of others in simulated overload, for bench/RESULTS.md. Time is simulated, so the same seeds
# give the same figures on every machine.
#
#     cd lab && MIX_ENV=prod mix run bench/adaptive.exs [--quick]
#
# Listed: the sizes and service times that the control law was designed with. Held out: seeds, sizes and service times
# that it was not.

defmodule Bench.Adaptive do
  alias Lab.Simulation
  alias Lab.Simulation.{Controllers, Scenario, Size, Table}

  def run(quick) do
    IO.puts("# Control laws in overload\n")
    listed = section("Listed", Size.listed(), :exponential, [1, 2, 3], quick, Scenario.main())
    IO.puts([Table.conduct(listed), "\n", Table.reasons(listed)])

    section(
      "A retry storm, a store that stalls, a false signal",
      Size.listed(),
      :exponential,
      [1],
      quick,
      Scenario.further()
    )

    IO.puts("## S1 to S5 at a quarter of the capacity: from the fall on, and 10 s later\n")
    IO.puts(Table.priorities(Simulation.priorities(Size.nominal(), seed: 1, law: :exponential)))

    unless quick do
      section(
        "Held out: sizes and seeds",
        Size.held_out(),
        :exponential,
        [101, 102],
        quick,
        Scenario.main()
      )

      for law <- [{:lognormal, 2.0}, :constant] do
        section(
          "Held out: #{inspect(law)} service times",
          [Size.nominal()],
          law,
          [101, 102],
          quick,
          Scenario.main()
        )
      end
    end
  end

  defp section(title, sizes, law, seeds, quick, scenarios) do
    {sizes, seeds} = if quick, do: {[hd(sizes)], [hd(seeds)]}, else: {sizes, seeds}
    IO.puts("## #{title}\n\nSeeds #{Enum.join(seeds, ", ")}; #{inspect(law)} service times.\n")

    cells =
      Simulation.run(
        controllers: Controllers.controllers(),
        sizes: sizes,
        scenarios: scenarios,
        seeds: seeds,
        law: law
      )

    IO.puts(Table.goodput(cells))
    cells
  end
end

Bench.Adaptive.run("--quick" in System.argv())
