defmodule Mix.Tasks.SimulateTest do
  # Not async: standard error is global.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Simulate
  alias Lab.Simulation.{Arguments, Grammar, Scenario, Size}

  @moduletag :tmp_dir

  test "a scenario prints its tables" do
    out =
      capture_io(fn ->
        Simulate.run(~w(--scenario b --size 1w/20 --only ours --only fixed --seeds 5))
      end)

    assert out =~ "Goodput as a share of the oracle, seeds 5\n"
    assert out =~ ~r/\| 1w\/20 +\| +B \| +mean \| +worst \|/
    assert out =~ ~r/\| this library +\| +0\.9\d/
    assert out =~ ~r/\| fixed limit +\| +0\.[67]/
    assert out =~ ~r/\| priority +\|/
    # The cells of a table have the width of their column.
    for table <- String.split(out, "\n\n"), "|" <> _ = rows <- [table] do
      assert [_] = rows |> String.split("\n", trim: true) |> Enum.uniq_by(&String.length/1)
    end

    assert out =~ ~r/This library: (\d+) changes, \1 with a reason/
  end

  test "--random prints a table of cells for the design and one of cells kept aside" do
    argv = ~w(--random 2 --only ours --only fixed --seeds 5)
    out = capture_io(fn -> Simulate.run(argv) end)
    assert out =~ "Cells for the design: 1 to 2\n"
    assert out =~ "Cells kept aside: 2001 to 2002\n"

    assert [_, _] =
             Regex.scan(
               ~r/\| this library +\| +[01]\.\d\d \| +[01]\.\d\d \| +-?[01]\.\d\d \|/,
               out
             )

    assert out =~ ~r/Furthest behind, this library: r\d, \d+w/
  end

  test "a random cell has faults between calm parts, and is the same for a number" do
    for number <- 1..50 do
      {scenario, size, _law} = cell = Grammar.cell(number)
      assert cell == Grammar.cell(number)
      assert size.capacity in 8..400
      segments = Scenario.segments(scenario, size, 1)
      ends = Enum.map(segments, & &1.until_ms)
      assert ends == Enum.sort(ends)
      assert List.last(ends) <= scenario.seconds * 1_000

      for at <- [hd(segments), List.last(segments)],
          do: assert({at.speed, at.workers} == {1.0, 1.0})

      # A call with the mean work can be answered.
      for %{speed: speed} <- segments,
          do: assert(Size.mean_ms(size) / speed <= size.deadline_ms + 1)
    end
  end

  test "--html writes a page", %{tmp_dir: dir} do
    path = Path.join(dir, "f.html")
    argv = ["--scenario", "F", "--size", "1w/20", "--only", "ours", "--html", path]
    assert capture_io(fn -> Simulate.run(argv) end) == "The page is in #{path}\n"
    assert File.read!(path) =~ "Decisions of this library"
  end

  test "an invalid command line exits with status 2 and what was expected" do
    for {argv, message} <- [
          {~w(--scenario z), "--scenario: expected a to j, or l, got: z"},
          {~w(--size 3w), "--size: expected one of 10w/100, 1w/20, "},
          {~w(--seeds 1,x),
           "--seeds: expected whole numbers with commas, such as 1,2,3, got: 1,x"},
          {~w(--service slow),
           "--service: expected one of constant, erlang, exponential, lognormal, got: slow"},
          {~w(--html x.html), "--html: expected one --scenario and one --size with it"},
          {~w(--jobs 0), "--jobs: expected a positive number, got: 0"},
          {~w(--random 0), "--random: expected a positive number, got: 0"},
          {~w(--jobs many), "--jobs: expected a whole number, got: \"many\""},
          {~w(--jobs), "--jobs: expected a value"},
          {~w(--quik), "--quik: no such option. Did you mean --quick?"},
          {~w(--nothing), "--nothing: no such option"},
          {~w(now), "expected options only, got: now"}
        ] do
      err =
        capture_io(:stderr, fn ->
          assert catch_exit(Simulate.run(argv)) == {:shutdown, 2}
        end)

      assert err =~ "mix simulate: " <> message
    end
  end

  test "--quick is the nominal size and one seed, --held-out has four other sizes" do
    {:ok, quick} = Arguments.parse(~w(--quick))
    assert {["10w/100"], [1]} = {Enum.map(quick[:sizes], & &1.name), quick[:seeds]}
    {:ok, held_out} = Arguments.parse(~w(--held-out --further))
    assert length(held_out[:sizes]) == 4
    assert length(held_out[:scenarios]) == 11
  end
end
