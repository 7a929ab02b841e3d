# The durations of single checks from Elixir: not the mean, but the slow ones. Also the effect of the sweep on them.
#
#     MIX_ENV=prod mix run bench/latency.exs [--quick]

for file <- ~w(machine table loop keys governor_nif limiters subjects histogram) do
  Code.require_file("support/#{file}.exs", __DIR__)
end

defmodule Bench.Latency.TimedLoop do
  @moduledoc false
  # Loops as `Bench.Loop` makes them, with a reading of the processor's counter before and after each call.

  defmacro deftimed(name, id, do: body) do
    quote do
      def unquote(name)(0, _keys, _size, _at, _histogram), do: :ok

      def unquote(name)(count, keys, size, at, histogram) do
        unquote(id) = elem(keys, at)
        from = Bench.GovernorNif.ticks()
        unquote(body)
        to = Bench.GovernorNif.ticks()
        Bench.Histogram.add(histogram, Bench.GovernorNif.nanoseconds(from, to))
        unquote(name)(count - 1, keys, size, Bench.Loop.next(at, size), histogram)
      end
    end
  end
end

defmodule Bench.Latency.Timed do
  @moduledoc false
  # The timed calls.

  import Bench.Latency.TimedLoop
  require Bench.Loop

  deftimed(:empty, _id, do: :ok)
  deftimed(:wide, id, do: {:ok, _usage} = RateLimiter.check_and_track(:wide, id, :each))
  deftimed(:brief, id, do: {:ok, _usage} = RateLimiter.check_and_track(:brief, id, :each))
  deftimed(:ets, id, do: :ets.update_counter(:bench_ets, id, 1))
  deftimed(:governor, id, do: true = Bench.GovernorNif.check(id))
end

defmodule Bench.Latency.Sweep do
  @moduledoc false
  # The sweep of idle keys: none, as in an instance, or without a pause.

  alias RateLimiter.Store
  alias RateLimiter.Instance.Sweeper

  @slots 2_000

  @type way :: :none | :usual | {:without_pause, limiter :: atom}

  @spec during(pid, way, (... -> :ok)) :: :ok
  def during(_instance, :usual, fun), do: fun.()

  def during(instance, :none, fun) do
    [sweeper] = for {Sweeper, pid, _, _} <- Supervisor.which_children(instance), do: pid
    :ok = :sys.suspend(sweeper)
    fun.()
    :sys.resume(sweeper)
  end

  def during(_instance, {:without_pause, limiter}, fun) do
    handle = Store.handle(limiter)
    # On the other scheduler, since on the same one it would alternate with the caller.
    other = System.schedulers_online()
    pid = :erlang.spawn_opt(fn -> forever(handle) end, [{:scheduler, other}])
    fun.()
    Process.exit(pid, :kill)
    :ok
  end

  defp forever(handle) do
    Store.sweep(handle, @slots)
    forever(handle)
  end
end

defmodule Bench.Latency do
  alias Bench.{GovernorNif, Histogram, Keys, Limiters, Machine, Subjects, Table}
  alias Bench.Latency.{Sweep, Timed}

  @full %{samples: 500_000, rounds: 10, many: 1_000_000}
  @quick %{samples: 10_000, rounds: 2, many: 10_000}
  @shares [0.5, 0.99, 0.999, 0.9999]
  @targets [{0.99, "p99", 500}, {0.999, "p99.9", 1_000}, {0.9999, "p99.99", 50_000}]

  # The heap of a new process in words, and that of one that has done some work.
  @small 233
  @grown 28_690

  # Title of the row, subject, number of processes, their heap, mode of the sweep.
  @peers [
    {"nothing between the readings", :empty, 1, @small, :usual},
    {"check_and_track/3", :wide, 1, @small, :usual},
    {"check_and_track/3, from a grown heap", :wide, 1, @grown, :usual},
    {"ets:update_counter, string", :ets, 1, @small, :usual},
    {"governor behind a bare NIF", :governor, 1, @small, :usual},
    {"check_and_track/3, two processes", :wide, 2, @small, :usual}
  ]
  @sweeps [
    {"no sweep", :wide, 1, @small, :none},
    {"swept as usual", :wide, 1, @small, :usual},
    {"swept without a pause, nothing idle", :wide, 1, @small, {:without_pause, :wide}},
    {"no sweep, all idle between visits", :brief, 1, @small, :none},
    {"swept without a pause, all leave and come back", :brief, 1, @small,
     {:without_pause, :brief}}
  ]

  def run(size) do
    size = if size == :quick, do: @quick, else: @full
    :ok = GovernorNif.load!()
    instance = Limiters.start()
    :ok = Subjects.start()
    introduce(size)

    [hot, ten_thousand, _sweeps] =
      for {name, keys, rows} <- [
            {"hot key", 1, @peers},
            {"10,000 keys", 10_000, @peers},
            {"#{Table.count(size.many)} keys, and the sweep", size.many, @sweeps}
          ],
          do: table(name, Keys.tuple(keys), rows, instance, size)

    targets([{"hot key", hot}, {"10,000 keys", ten_thousand}])
    IO.puts("Load average at the end: #{Machine.load()}.\n")
  end

  defp introduce(size) do
    Machine.print("Elixir: the latency of single checks")

    IO.puts("""
    #{Table.count(size.samples * size.rounds)} calls a row and process, in #{size.rounds} rounds in turns. A reading of the processor's counter \
    (through a NIF) goes
    before and after each call, and its cost is part of every figure: the first row shows it, and the steps of the counter.
    Nanoseconds. A new process has a heap of #{@small} words, which is collected often; garbage collections are part of
    the calls. A grown heap has #{Table.count(@grown)} words.
    """)
  end

  defp table(title, keys, rows, instance, size) do
    Subjects.fill(keys)
    rows = for row <- rows, do: {row, Histogram.new()}

    for round <- 1..size.rounds, {{_name, subject, processes, heap, sweep}, histogram} <- rows do
      ask = fn number ->
        at = (round - 1) * size.samples + div(tuple_size(keys) * (number - 1), 2)
        first = rem(at, tuple_size(keys))
        start(subject, [size.samples, keys, tuple_size(keys), first, histogram], heap, number)
      end

      Sweep.during(instance, sweep, fn -> 1..processes |> Enum.map(ask) |> Enum.each(&wait/1) end)
    end

    figures =
      for {{name, _, _, _, _}, histogram} <- rows,
          do: {name, Histogram.percentiles(histogram, @shares)}

    print(title, figures)
    Map.new(figures)
  end

  # Each process on a scheduler of its own; a sweep is on the last one.
  defp start(subject, arguments, heap, number) do
    placed = [:link, :monitor, min_heap_size: heap, scheduler: number]
    :erlang.spawn_opt(Timed, subject, arguments, placed)
  end

  defp wait({pid, monitor}), do: receive(do: ({:DOWN, ^monitor, _, ^pid, :normal} -> :ok))

  defp print(title, figures) do
    IO.puts("### #{title}\n")

    Table.print(
      ["", "p50", "p99", "p99.9", "p99.99", "max"],
      for(
        {name, {percentiles, longest}} <- figures,
        do: [name | Enum.map(percentiles ++ [longest], &Table.count/1)]
      )
    )
  end

  defp targets(tables) do
    IO.puts("### Targets of latency\n")

    rows =
      for {title, table} <- tables, {share, name, most} <- @targets do
        {percentiles, _longest} = table["check_and_track/3"]
        is = Enum.at(percentiles, Enum.find_index(@shares, &(&1 == share)))
        verdict = if is < most, do: "met", else: "MISSED"
        ["#{title}: #{name}", "under #{Table.count(most)}", Table.count(is), verdict]
      end

    Table.print(["nanoseconds", "must", "is", ""], rows)
  end
end

case System.argv() do
  [] -> Bench.Latency.run(:full)
  ["--quick"] -> Bench.Latency.run(:quick)
end
