defmodule Mix.Tasks.Simulate do
  @shortdoc "Shows how the control law does in overload, beside others"

  @moduledoc """
  Shows how the control law of this library does in overload, beside those of others, on the same simulated calls.

      mix simulate                                  # the main table: A to H on four sizes
      mix simulate --quick                          # the nominal size and one seed, some seconds
      mix simulate --scenario a --size 10w/100 --html a.html

  A resource has workers and a FIFO queue of two seconds; clients call at random, and wait a second, or five times the
  work where that is longer. The limit is set a fifth above the capacity. The figures are calls answered in time, as a
  share of what was possible: 1.00 is as much as an oracle could have had.

  | | scenario |
  | --- | --- |
  | A | the capacity falls to a half, and comes back |
  | B | ten times the calls come |
  | C | the capacity leaks away to 40 % in three minutes |
  | D | the capacity is halved and restored every 20 seconds |
  | E | a heavy tail, and stalls, well below capacity: nothing has to be denied |
  | F | every answer takes 400 ms longer, whatever the load |
  | G | one of four nodes is lost, with what ran there |
  | H | the limit is twice too high from the start |
  | I | clients try again three times while the capacity is short |
  | J | each check waits 100 ms for its store, for five seconds |
  | L | somebody reports the greatest pain for a minute although nothing hurts |

  The others are written from their published descriptions, with their published defaults, and stand behind the same
  limit.

  ## Options

    * `--seeds N,N` - the seeds of chance; 1,2,3 without it. A figure is the mean over them
    * `--scenario LETTER`, `--size SIZE`, `--only NAME` - of these only; each as often as wanted. Names are `ours`, `fixed`,
      `aimd`, `vegas`, `gradient2`, `envoy`, `sre`, `aws`, `bbr` and `regulator`
    * `--further` - also I, J and L
    * `--held-out` - the sizes that the law was not chosen by
    * `--service LAW` - how long work takes: `exponential` (without it), `constant`, `erlang`, `lognormal`. E has its own
    * `--target` - the law is told a target: half of what clients wait
    * `--quick` - the nominal size, one seed
    * `--html FILE` - draw one scenario on one size, second by second, as a page
    * `--jobs N` - how many cells at once; the processor's cores without it
    * `-h`, `--help` - this text

  The exit status is 0, or 2 if the command line is wrong.
  """

  use Mix.Task

  alias Lab.Simulation
  alias Lab.Simulation.{Arguments, Page, Score, Size, Table}

  @requirements ["loadpaths"]

  @impl true
  def run(argv) do
    case Arguments.parse(argv) do
      {:ok, options} -> if options[:html], do: draw(options), else: show(options)
      :help -> IO.puts(@moduledoc)
      {:error, message} -> misuse(message)
    end
  end

  defp show(options) do
    cells = Simulation.run(options)
    IO.puts("Goodput against the oracle, seeds #{Enum.join(options[:seeds], ", ")}\n")
    IO.write([Table.goodput(cells), Table.conduct(cells), "\n"])
    if Enum.any?(cells, &match?({:ours, _, _}, &1.member)), do: ours(cells, options)
  end

  defp ours(cells, options) do
    plant = [seed: hd(options[:seeds]), law: options[:law], target: options[:target]]

    IO.puts(
      "Calls kept by each subsystem at a quarter of the capacity: from the fall on, and 10 s later\n"
    )

    IO.puts(Table.priorities(Simulation.priorities(Size.nominal(), plant)))
    IO.write(["This library: ", Table.reasons(cells)])
  end

  defp draw(options) do
    [scenario] = options[:scenarios]
    [size] = options[:sizes]
    seed = hd(options[:seeds])

    runs =
      for member <- options[:members] do
        plant = [seed: seed, law: options[:law], target: options[:target]]
        {seconds, decisions} = Simulation.trace(member, scenario, size, plant)
        {member, seconds, decisions, Score.of(seconds, scenario).goodput}
      end

    case File.write(options[:html], Page.render(scenario, size, runs, seed)) do
      :ok -> IO.puts("The page is in #{options[:html]}")
      {:error, reason} -> misuse("--html #{options[:html]}: #{:file.format_error(reason)}")
    end
  end

  @spec misuse(String.t()) :: no_return
  defp misuse(message) do
    IO.puts(:stderr, "mix simulate: #{message}\nSee: mix help simulate")
    exit({:shutdown, 2})
  end
end
