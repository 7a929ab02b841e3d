# The cost of a check from Elixir, beside one `:ets.update_counter` on the same keys and governor behind a bare NIF.
#
#     MIX_ENV=prod mix run bench/check.exs [--quick]

for file <- ~w(machine table figures loop keys governor_nif limiters subjects rounds) do
  Code.require_file("support/#{file}.exs", __DIR__)
end

defmodule Bench.Check do
  alias Bench.{Figures, GovernorNif, Keys, Limiters, Machine, Rounds, Subjects, Table}

  @base :wide
  @names %{
    loop: "the loop alone",
    nothing: "a NIF that does nothing",
    allow: "allow?/3, events: :denials",
    wide: "check_and_track/3, events: :denials",
    wide_plan: "check_and_track/4, the same under one of 1,000 plans",
    wide_events: "check_and_track/3, events: :all, no handler attached",
    two: "check_and_track/2, two windows, events: :denials",
    ets: "ets:update_counter, string",
    ets_tuples: "ets:update_counter, {:api, string}",
    governor: "governor behind a bare NIF",
    narrow: "check_and_track/3, events: :none",
    narrow_events: "check_and_track/3, events: :all, no handler attached",
    governor_narrow: "governor behind a bare NIF"
  }
  @allowed [
    :loop,
    :nothing,
    :allow,
    :wide,
    :wide_plan,
    :wide_events,
    :two,
    :ets,
    :ets_tuples,
    :governor
  ]
  @denied [:loop, :narrow, :narrow_events, :governor_narrow]

  @full %{
    rounds: 15,
    cases: [
      {"hot key", 1, 500_000},
      {"10,000 keys", 10_000, 500_000},
      {"1,000,000 keys", 1_000_000, 1_000_000}
    ]
  }
  @quick %{
    rounds: 3,
    cases: [{"hot key", 1, 20_000}, {"10,000 keys", 10_000, 20_000}]
  }

  def run(size) do
    size = if size == :quick, do: @quick, else: @full
    :ok = GovernorNif.load!()
    Limiters.start()
    :ok = Subjects.start()
    introduce(size)
    figures = for test <- size.cases, into: %{}, do: {elem(test, 0), allowed(test, size)}
    denied(size)
    targets(figures)
    IO.puts("Load average at the end: #{Machine.load()}.\n")
  end

  defp introduce(size) do
    Machine.print("Elixir: a check beside a counter")

    IO.puts("""
    #{size.rounds} rounds in turns; each subject is called #{counts(size)} times a round and process, after an untimed run of
    half the length. Keys are strings of 13 bytes, checked in random order, all inserted before. The limit is one a minute
    with a burst of 70,000,000, so calls are admitted unless a row says otherwise. check_and_track/3 returns a whole %Usage{}.
    Nanoseconds are medians, as one process sees them; ratios are medians over the rounds, both sides less the loop.
    """)
  end

  defp counts(size) do
    size.cases
    |> Enum.map(&elem(&1, 2))
    |> Enum.uniq()
    |> Enum.map_join(" or ", &Table.count/1)
  end

  defp allowed({name, keys, count}, size) do
    figures = measure(@allowed, keys, count, size)
    for processes <- [1, 2], do: print(name, processes, @allowed, @base, figures)
    print_scaling(name, @allowed, figures)
    figures
  end

  defp denied(size) do
    {_name, _keys, count} = hd(size.cases)
    figures = measure(@denied, 10_000, count, size)

    for processes <- [1, 2],
        do: print("10,000 keys, denied", processes, @denied, :narrow, figures)
  end

  defp measure(subjects, keys, count, size) do
    keys = Keys.tuple(keys)
    Subjects.fill(keys)
    load = %{keys: keys, count: count, rounds: size.rounds, processes: [1, 2]}
    Rounds.measure(subjects, load)
  end

  ## Tables

  defp print(name, processes, subjects, base, figures) do
    IO.puts("### #{name}, #{processes} #{if processes == 1, do: "process", else: "processes"}\n")

    Table.print(
      ["", "ns", "quartiles", "less the loop", "ours : it", "a second and core"],
      for(subject <- subjects, do: row(subject, processes, base, figures))
    )
  end

  defp row(:loop = subject, processes, _base, figures) do
    total = figures[{subject, processes}]

    [@names[subject], Table.decimal(Figures.median(total)), Figures.quartiles(total), "", "", ""]
  end

  defp row(subject, processes, base, figures) do
    total = figures[{subject, processes}]
    median = Figures.median(total)

    [
      @names[subject],
      Table.decimal(median),
      Figures.quartiles(total),
      figures |> net(subject, processes) |> Figures.median() |> Table.decimal(),
      figures |> ratio(base, subject, processes) |> Table.decimal(2),
      Table.count(1.0e9 / median)
    ]
  end

  defp print_scaling(name, subjects, figures) do
    IO.puts("### #{name}: calls of two processes, as a multiple of one's\n")

    Table.print(
      ["", "calls"],
      for(
        subject <- subjects -- [:loop],
        do: [@names[subject], Table.decimal(scaling(figures, subject), 2)]
      )
    )
  end

  ## Targets

  defp targets(figures) do
    IO.puts("### Targets from Elixir\n")

    rows =
      for {name, test, most_or_least, bound, measure} <- all_targets(),
          figures = figures[test] do
        is = measure.(figures)
        met? = if most_or_least == :most, do: is <= bound, else: is >= bound

        [
          "#{test}: #{name}",
          "at #{most_or_least} #{number(bound)}",
          number(is),
          if(met?, do: "met", else: "MISSED")
        ]
      end

    Table.print(["", "must", "is", ""], rows)
  end

  defp all_targets do
    [
      {"time, to a counter's in ETS", "10,000 keys", :most, 1.0, &ratio(&1, :wide, :ets, 1)},
      {"time, to a counter's with a tuple key", "10,000 keys", :most, 1.0,
       &ratio(&1, :wide, :ets_tuples, 1)},
      {"time under a plan, to that without", "10,000 keys", :most, 1.1,
       &ratio(&1, :wide_plan, :wide, 1)},
      {"time with all events, to that without", "10,000 keys", :most, 2.0,
       &ratio(&1, :wide_events, :wide, 1)},
      {"time with all events, to a counter's", "10,000 keys", :most, 2.0,
       &ratio(&1, :wide_events, :ets, 1)},
      {"time of two windows, to that of one", "10,000 keys", :most, 1.6,
       &ratio(&1, :two, :wide, 1)},
      {"calls of two processes, to one's", "10,000 keys", :least, 1.8, &scaling(&1, :wide)},
      {"calls of two processes, to one's", "hot key", :least, 1.2, &scaling(&1, :wide)},
      {"checks a second and core", "10,000 keys", :least, 4_000_000,
       &(1.0e9 / Figures.median(&1[{:wide, 1}]))},
      {"allow?/3, to governor's time", "10,000 keys", :most, 1.4,
       &ratio(&1, :allow, :governor, 1)},
      {"allow?/3, to governor's time", "hot key", :most, 1.4, &ratio(&1, :allow, :governor, 1)},
      {"governor's time, to ours", "1,000,000 keys", :least, 1.4, &ratio(&1, :governor, :wide, 1)}
    ]
  end

  defp number(value) when value >= 1_000, do: Table.count(value)
  defp number(value), do: Table.decimal(value, 2)

  ## Arithmetic

  defp net(figures, subject, processes),
    do: Figures.minus(figures[{subject, processes}], figures[{:loop, processes}])

  defp ratio(figures, ours, theirs, processes),
    do: Figures.ratio(net(figures, ours, processes), net(figures, theirs, processes))

  defp scaling(figures, subject),
    do: 2 * Figures.ratio(net(figures, subject, 1), net(figures, subject, 2))
end

case System.argv() do
  [] -> Bench.Check.run(:full)
  ["--quick"] -> Bench.Check.run(:quick)
end
