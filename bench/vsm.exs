# A pool of workers, half of which stop for a while, under independent callers of `RateLimiter.VSM.run/4`: with the configured
# limit, and with the limit that follows the pool's health. Real processes and timers, nothing simulated.
#
#     MIX_ENV=prod mix run bench/vsm.exs [--quick] [--svg FILE]

for file <- ~w(machine table) do
  Code.require_file("support/#{file}.exs", __DIR__)
end

Code.require_file("../guides/pictures/svg.exs", __DIR__)

defmodule Bench.Vsm.Pool do
  @moduledoc false
  # Workers that take one job at a time from one queue. A job is also done if its caller has given up: the worker does not
  # know.

  use GenServer

  def start_link(workers, mean_ms),
    do: GenServer.start_link(__MODULE__, {workers, mean_ms}, name: __MODULE__)

  @doc "Does a job. Exits if it is not done in time."
  def work(timeout_ms), do: GenServer.call(__MODULE__, :work, timeout_ms)

  @doc "Sets the number of workers that take jobs."
  def workers(count), do: GenServer.call(__MODULE__, {:workers, count})

  @impl true
  def init({workers, mean_ms}),
    do: {:ok, %{workers: workers, busy: 0, mean_ms: mean_ms, queue: :queue.new()}}

  @impl true
  def handle_call(:work, from, pool),
    do: {:noreply, begin(%{pool | queue: :queue.in(from, pool.queue)})}

  def handle_call({:workers, count}, _from, pool),
    do: {:reply, :ok, begin(%{pool | workers: count})}

  @impl true
  def handle_info({:done, from}, pool) do
    GenServer.reply(from, :done)
    {:noreply, begin(%{pool | busy: pool.busy - 1})}
  end

  defp begin(%{busy: busy, workers: workers} = pool) when busy >= workers, do: pool

  defp begin(pool) do
    case :queue.out(pool.queue) do
      {:empty, _queue} ->
        pool

      {{:value, from}, queue} ->
        Process.send_after(
          self(),
          {:done, from},
          round(-pool.mean_ms * :math.log(:rand.uniform()))
        )

        begin(%{pool | queue: queue, busy: pool.busy + 1})
    end
  end
end

defmodule Bench.Vsm.Load do
  @moduledoc false
  # Callers that arrive at random moments (Poisson), each in a process of its own, and their outcomes by the second of
  # arrival.

  alias Bench.Vsm.Pool
  alias RateLimiter.VSM

  @outcomes [good: 1, denied: 2, late: 3]
  # Half milliseconds.
  @places 4_000

  def new(seconds),
    do: %{
      counts: :counters.new(3 * seconds, []),
      times: :counters.new(@places * seconds, []),
      seconds: seconds
    }

  @doc "Runs for the seconds of the log. `events` has the functions to call, by second."
  def run(log, rate, deadline_ms, events) do
    start = System.monotonic_time(:microsecond)

    Enum.each(0..(log.seconds * 1_000 - 1), fn ms ->
      if rem(ms, 1_000) == 0 and events[div(ms, 1_000)], do: events[div(ms, 1_000)].()
      wait(start + ms * 1_000)

      for _ <- 1..poisson(rate / 1_000)//1,
          do: spawn(fn -> call(log, div(ms, 1_000), deadline_ms) end)
    end)

    Process.sleep(deadline_ms + 200)
    log
  end

  def count(log, second, outcome), do: :counters.get(log.counts, 3 * second + @outcomes[outcome])

  @doc "Returns the milliseconds that this share of the good calls of these seconds did not exceed."
  def quantile(log, seconds, share) do
    counts =
      for place <- 1..@places,
          do:
            Enum.sum(
              for second <- seconds, do: :counters.get(log.times, @places * second + place)
            )

    rank = share * Enum.sum(counts)

    counts
    |> Enum.with_index(1)
    |> Enum.reduce_while(0, fn {count, place}, sum ->
      if sum + count >= rank, do: {:halt, {:at, place / 2}}, else: {:cont, sum + count}
    end)
    |> then(fn
      {:at, ms} -> ms
      _none -> nil
    end)
  end

  defp call(log, second, deadline_ms) do
    from = System.monotonic_time(:microsecond)
    outcome = outcome(deadline_ms)
    took = System.monotonic_time(:microsecond) - from
    :counters.add(log.counts, 3 * second + @outcomes[outcome], 1)

    if outcome == :good,
      do: :counters.add(log.times, @places * second + min(@places, div(took, 500) + 1), 1)
  end

  defp outcome(deadline_ms) do
    case VSM.run(:pool, :caller, fn -> Pool.work(deadline_ms) end, instance: :bench_vsm) do
      {:ok, :done} -> :good
      {:error, :rate_limited, _usage} -> :denied
    end
  catch
    :exit, {:timeout, _call} -> :late
  end

  defp wait(at) do
    case at - System.monotonic_time(:microsecond) do
      early when early > 0 -> Process.sleep(div(early + 999, 1_000))
      _late -> :ok
    end
  end

  defp poisson(mean), do: poisson(:math.exp(-mean), :rand.uniform(), 0)
  defp poisson(limit, product, count) when product <= limit, do: count
  defp poisson(limit, product, count), do: poisson(limit, product * :rand.uniform(), count + 1)
end

defmodule Bench.Vsm do
  alias Bench.Machine
  alias Bench.Vsm.{Load, Pool}
  alias Guides.Svg
  alias RateLimiter.VSM

  @workers 16
  @mean_ms 25
  @capacity div(@workers * 1_000, @mean_ms)
  @rate round(0.9 * @capacity)
  @limit round(1.2 * @capacity)
  @deadline_ms 1_000
  @full %{seconds: 60, broken: 15..34}
  @quick %{seconds: 6, broken: 2..3}

  def run(size, svg) do
    size = if size == :quick, do: @quick, else: @full
    introduce(size)

    runs =
      for {title, options} <- [
            {"the limit as configured", [dry_run: true]},
            {"the limit that follows", []}
          ],
          do: {title, one(options, size)}

    table(runs, size)
    reasons(runs)
    if svg, do: File.write!(svg, draw(runs, size))
  end

  defp introduce(size) do
    Machine.print("A pool of workers, of which half stop")

    IO.puts("""
    #{@workers} workers, #{@mean_ms} ms a job in the mean (exponential): #{@capacity} jobs a second. #{@rate} callers a second \
    come for #{size.seconds} s (Poisson), and wait
    at most #{@deadline_ms} ms. The limit is #{@limit} a second. From second #{size.broken.first} to #{size.broken.last} only half of the workers work.
    """)
  end

  defp one(options, size) do
    sensors = [schedulers: false, run_queue: false, timer: false, memory: false]

    vsm = [
      sensors: sensors,
      subsystems: [
        pool: [limit: @limit, per: :second, burst: div(@limit, 10), events: :none] ++ options
      ]
    ]

    {:ok, instance} = RateLimiter.start_link(name: :bench_vsm, vsm: vsm)
    {:ok, pool} = Pool.start_link(@workers, @mean_ms)
    :rand.seed(:exsss, {1, 2, 3})

    events = %{
      size.broken.first => fn -> Pool.workers(div(@workers, 2)) end,
      (size.broken.last + 1) => fn -> Pool.workers(@workers) end
    }

    log = Load.run(Load.new(size.seconds), @rate, @deadline_ms, events)
    explained = VSM.explain(:pool, :bench_vsm)
    GenServer.stop(pool)
    Supervisor.stop(instance)
    {log, Enum.reverse(explained)}
  end

  defp table(runs, size) do
    last = size.seconds - 1

    phases = [
      {"before", 0..(size.broken.first - 1)},
      {"half of it", size.broken},
      {"after", (size.broken.last + 1)..last},
      {"in all", 0..last}
    ]

    IO.puts(
      "| when | which limit | done in time | of the possible calls | p50 | p99 | denied | too late |"
    )

    IO.puts("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")

    for {phase, seconds} <- phases, {title, {log, _explained}} <- runs do
      sum = fn outcome ->
        Enum.sum(for second <- seconds, do: Load.count(log, second, outcome))
      end

      good = sum.(:good)

      row = [
        phase,
        title,
        good,
        "#{round(100 * good / possible(seconds, size))} %",
        ms(Load.quantile(log, seconds, 0.5)),
        ms(Load.quantile(log, seconds, 0.99)),
        sum.(:denied),
        sum.(:late)
      ]

      IO.puts("| #{Enum.join(row, " | ")} |")
    end

    IO.puts(
      "\nPossible calls are the smaller of the calls made and the capacity of the workers. p50 and p99 are of calls done in time.\n"
    )
  end

  defp possible(seconds, size) do
    Enum.sum(
      for second <- seconds,
          do: min(@rate, if(second in size.broken, do: div(@capacity, 2), else: @capacity))
    )
  end

  defp ms(nil), do: "-"
  defp ms(ms), do: "#{round(ms)} ms"

  defp reasons([_configured, {_title, {_log, explained}}]) do
    IO.puts("The explanation of `explain/1`:\n")

    for entry <- explained,
        do: IO.puts("    #{Calendar.strftime(entry.at, "%M:%S")} #{entry.sentence}")

    IO.puts("")
  end

  ## The same as a picture: calls done in time and calls denied, by second

  @width 720
  @plot 150
  @left 60

  defp draw(runs, size) do
    height = 70 + length(runs) * (@plot + 60)

    plots =
      for {{title, {log, _}}, index} <- Enum.with_index(runs),
          do: plot(title, log, size, 60 + index * (@plot + 60))

    Svg.drawing(
      @width,
      height,
      "A pool that loses half of its workers",
      "Calls done in time and p99, by the second, with and without adaptation",
      [
        Svg.text(@left, 32, "A pool that loses half of its workers", "title"),
        plots
      ]
    )
  end

  defp plot(title, log, size, top) do
    step = (@width - @left - 30) / size.seconds
    y = fn count -> top + 20 + @plot * (1 - min(count, @capacity) / @capacity) end

    bars =
      for second <- 0..(size.seconds - 1) do
        good = Load.count(log, second, :good)
        x = @left + second * step
        late = Load.count(log, second, :late)

        [
          Svg.rect("admitted", x, y.(good), step * 0.8, top + 20 + @plot - y.(good)),
          if(late > 0,
            do: Svg.rect("over", x, y.(good + late), step * 0.8, y.(good) - y.(good + late)),
            else: ""
          )
        ]
      end

    broken =
      for second <- [size.broken.first, size.broken.last + 1],
          do:
            Svg.line(
              "window",
              @left + second * step,
              top + 20,
              @left + second * step,
              top + 20 + @plot
            )

    [
      Svg.text(
        @left,
        top + 10,
        "#{title}: calls a second done in time, and too late (amber)",
        "name"
      ),
      bars,
      broken,
      Svg.line("base", @left, top + 20 + @plot, @width - 30, top + 20 + @plot),
      Svg.text(@left - 8, top + 26, "#{@capacity}", "small soft", "end"),
      Svg.text(@left - 8, top + 20 + @plot, "0", "small soft", "end")
    ]
  end
end

{options, _, _} = OptionParser.parse(System.argv(), strict: [quick: :boolean, svg: :string])
Bench.Vsm.run(if(options[:quick], do: :quick, else: :full), options[:svg])
