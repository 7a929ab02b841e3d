defmodule Mix.Tasks.Simulate do
  @shortdoc "Compares control laws in simulated overload"

  @moduledoc """
  Compares the control law of this library with those of others in simulated overload, on the same calls.

      mix simulate                                  # the main table: A to H on four sizes
      mix simulate --quick                          # the nominal size and one seed, a few seconds
      mix simulate --scenario a --size 10w/100 --html a.html

  A resource has workers and a FIFO queue of two seconds. Clients call at random, and wait a second, or five times the
  mean work if that is longer. The limit is 20 % above the capacity. The figures are goodput: calls answered in time, as
  a share of what was possible. 1.00 is the result of an oracle.

  | | scenario |
  | --- | --- |
  | A | the capacity falls to a half, and recovers |
  | B | ten times as many calls |
  | C | the capacity falls slowly to 40 %, in three minutes |
  | D | the capacity is halved and restored every 20 seconds |
  | E | heavy-tailed work and stalls, far below capacity: no call has to be denied |
  | F | every answer takes 400 ms longer, at any load |
  | G | one of four nodes is lost, with its calls |
  | H | the limit is twice too high from the start |
  | I | clients retry three times while the capacity is low |
  | J | each check waits 100 ms for its store, for five seconds |
  | L | a source reports the greatest pain for a minute, without a reason |

  The other laws are written from their published descriptions, with their published defaults, behind the same limit.

  ## Options

    * `--seeds N,N` - the random seeds, by default 1,2,3. A figure is the mean over them
    * `--scenario LETTER`, `--size SIZE`, `--only NAME` - only these; each may be repeated. Names are `ours`, `fixed`,
      `aimd`, `vegas`, `gradient2`, `envoy`, `sre`, `aws`, `bbr` and `regulator`
    * `--further` - also I, J and L
    * `--held-out` - the sizes that the law was not designed with
    * `--service LAW` - the service times: `exponential` (the default), `constant`, `erlang`, `lognormal`. E has its own
    * `--random N` - instead of these, N random cells: sizes, service times, and falls of capacity of any depth and length,
      ramps, bursts, additive latency and two of them at once, each from a seed. One table is for the cells 1 to N, with
      which the law was improved; the other for N cells that were kept aside
    * `--target` - gives the law a target: half of the time that clients wait
    * `--quick` - the nominal size, one seed
    * `--html FILE` - draws one scenario on one size, second by second, as a page
    * `--jobs N` - how many cells run at once, by default one for each core
    * `-h`, `--help` - prints this text

  ## Exit status

    * 0 - done
    * 2 - the command line is invalid
  """

  use Mix.Task

  alias Lab.Simulation
  alias Lab.Simulation.{Arguments, Page, Score, Size, Table}

  alias RateLimiter.Terminal.CommandLine

  @requirements ["loadpaths"]

  @impl true
  def run(argv) do
    case Arguments.parse(argv) do
      {:ok, options} -> run_with(options)
      :help -> IO.puts(@moduledoc)
      {:error, message} -> misuse(message)
    end
  end

  defp run_with(options) do
    cond do
      options[:html] -> draw(options)
      options[:random] -> random(options)
      true -> show(options)
    end
  end

  defp random(options) do
    for {title, first} <- [{"Cells for the design", 1}, {"Cells kept aside", 2_001}] do
      cells = Simulation.random(first..(first + options[:random] - 1), options)
      IO.puts("#{title}: #{first} to #{first + options[:random] - 1}\n")
      IO.write([Table.random(cells), "\n"])
    end
  end

  defp show(options) do
    cells = Simulation.run(options)
    IO.puts("Goodput as a share of the oracle, seeds #{Enum.join(options[:seeds], ", ")}\n")
    IO.write([Table.goodput(cells), Table.conduct(cells), "\n"])
    if Enum.any?(cells, &match?({:ours, _, _}, &1.controller)), do: ours(cells, options)
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
      for controller <- options[:controllers] do
        plant = [seed: seed, law: options[:law], target: options[:target]]
        {seconds, decisions} = Simulation.trace(controller, scenario, size, plant)
        {controller, seconds, decisions, Score.of(seconds, scenario).goodput}
      end

    case File.write(options[:html], Page.render(scenario, size, runs, seed)) do
      :ok -> IO.puts("The page is in #{options[:html]}")
      {:error, reason} -> misuse("--html #{options[:html]}: #{:file.format_error(reason)}")
    end
  end

  @spec misuse(String.t()) :: no_return
  defp misuse(message) do
    CommandLine.fail("simulate", "#{message}\nSee: mix help simulate", 2)
  end
end
