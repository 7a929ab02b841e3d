defmodule RateLimiter.Top.Page do
  @moduledoc false
  # One picture of a node: its instances with their limiters, subsystems and sensors.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Terminal.{Screen, Text}
  alias RateLimiter.Top.Snapshot

  @bar 6
  @least_name 18
  @least_subsystem 12
  @units %{timer: " ms"}

  @doc "Returns the picture of `now`, with rates since `before`, in the `:columns` of the screen, by default 80."
  @spec render(Snapshot.t(), Snapshot.t(), Screen.t()) :: iodata
  def render(now, before, screen) do
    seconds = max(now.at_ms - before.at_ms, 1) / 1_000

    instances =
      for instance <- now.instances, do: {instance, find(before.instances, :name, instance.name)}

    [
      [
        Screen.style(screen, :bold, "#{now.node}"),
        "  #{Calendar.strftime(now.date, "%H:%M:%S")} UTC\n"
      ],
      if(instances == [], do: "\nno instance of RateLimiter is running\n", else: []),
      for({instance, old} <- instances, do: instance(instance, old, seconds, screen))
    ]
  end

  defp instance(instance, old, seconds, screen) do
    [
      "\n",
      Screen.rule(screen, instance.name, columns(screen)),
      "#{store(instance)}, #{Numbers.count(instance.keys, "id")}, #{bytes(instance.memory)}#{health(instance.health)}\n",
      redis(instance, old, seconds, screen),
      limiters(instance, old, seconds, screen),
      subsystems(instance, old, seconds, screen),
      sensors(instance.sensors, screen)
    ]
  end

  defp store(%{store: store}) when is_atom(store), do: Atom.to_string(store)
  defp store(%{store: store}), do: inspect(store)

  defp health(:ok), do: ""
  defp health(other), do: ", #{inspect(other)}"

  ## Redis

  defp redis(%{redis: nil}, _old, _seconds, _screen), do: []

  defp redis(%{redis: redis}, old, seconds, screen) do
    before = old[:redis]

    numbers =
      for key <- [:calls, :batches, :timeouts, :refused],
          do: "#{rate(redis, before, key, seconds)} #{key}/s"

    problem = if redis.problem, do: ["  #{redis.problem}"], else: []

    [
      "nodes #{redis.nodes}, ",
      Enum.join(numbers, ", "),
      "\n",
      for(line <- problem, do: cut(line, :red, screen)),
      for(server <- redis.servers, do: server(server, screen))
    ]
  end

  defp server(%{breaker: :closed, connections: connections} = server, screen)
       when connections > 0,
       do: cut("  #{about(server)}", :faint, screen)

  defp server(%{problem: problem} = server, screen),
    do: cut("  #{about(server)}#{if problem, do: ": #{problem}"}", :red, screen)

  defp about(server) do
    "#{server.server}  breaker #{breaker(server.breaker)}, connections #{server.connections}, " <>
      "pending #{server.pending}"
  end

  defp breaker(:half_open), do: "half open"
  defp breaker(:opened), do: "open"
  defp breaker(:closed), do: "closed"

  defp cut(line, style, screen),
    do: Screen.style(screen, style, [Text.at_most(line, columns(screen)), "\n"])

  ## Limiters

  defp limiters(%{limiters: []}, _old, _seconds, _screen), do: []

  defp limiters(%{limiters: limiters}, old, seconds, screen) do
    longest = limiters |> Enum.map(&Text.width("#{&1.name}")) |> Enum.max()
    # At least 30 columns are left to the windows.
    name = (longest + 1) |> min(columns(screen) - 62) |> max(@least_name)
    titles = [Text.fit("limiter", name), right(["calls/s", "denied/s", "ids"], 10), "  windows"]
    rows = for limiter <- limiters, do: {limiter, find(old[:limiters], :name, limiter.name)}

    [
      "\n",
      Screen.style(screen, :faint, titles),
      "\n",
      for(
        {limiter, old} <- Enum.sort_by(rows, &most_denied/1),
        do: limiter(limiter, old, seconds, name, screen)
      )
    ]
  end

  # The most denied first, then by name, in which numbers count as such.
  defp most_denied({limiter, old}) do
    denied = limiter.denials - if(old, do: old.denials, else: limiter.denials)
    parts = Regex.split(~r/\d+/, "#{limiter.name}", include_captures: true)
    name = for part <- parts, do: with({number, ""} <- Integer.parse(part), do: number)
    {-max(denied, 0), name}
  end

  defp limiter(limiter, old, seconds, name, screen) do
    denied = rate(limiter, old, :denials, seconds)
    windows = Enum.map_join(limiter.windows, ", ", &"#{&1.name} #{&1.limit}")

    [
      Text.fit("#{limiter.name}", name),
      right([rate(limiter, old, :checks, seconds)], 10),
      Screen.style(screen, if(denied == "0", do: :faint, else: :red), right([denied], 10)),
      right([Numbers.number(limiter.keys)], 10),
      "  ",
      Text.at_most(windows, columns(screen) - name - 32),
      "\n"
    ]
  end

  ## Subsystems

  defp subsystems(%{subsystems: []}, _old, _seconds, _screen), do: []

  defp subsystems(%{subsystems: subsystems}, old, seconds, screen) do
    longest = subsystems |> Enum.map(&Text.width("#{&1.name}")) |> Enum.max()
    name = (longest + 1) |> min(columns(screen) - 66) |> max(@least_subsystem)

    titles = [
      "\n",
      Text.fit("subsystem", name),
      Text.fit("limit", 10),
      Text.fit("scale", @bar + 7),
      Text.fit("stress", 6),
      right(["calls/s", "denied/s", "shed/s"], 9),
      Screen.right("at work", 10)
    ]

    [
      Screen.style(screen, :faint, titles),
      "\n",
      for(
        subsystem <- subsystems,
        do:
          subsystem(
            subsystem,
            find(old[:subsystems], :name, subsystem.name),
            {name, seconds},
            screen
          )
      )
    ]
  end

  defp subsystem(subsystem, old, {name, seconds}, screen) do
    shed = rate(subsystem, old, :shed, seconds)

    [
      Text.fit("#{subsystem.name}", name),
      Text.fit(subsystem.limit, 10),
      scale(subsystem, screen),
      stress(subsystem, screen),
      right([rate(subsystem, old, :asked, seconds), denied(subsystem, old, seconds)], 9),
      Screen.style(screen, if(shed in ["0", "-"], do: :faint, else: :red), right([shed], 9)),
      Screen.right(at_work(subsystem), 10),
      "\n",
      why(subsystem, screen)
    ]
  end

  defp scale(%{scale: scale} = subsystem, screen) do
    bar = Screen.bar(screen, min(scale, 1.0), 1.0, @bar)
    text = Text.fit(bar, @bar + 1) <> Text.fit(Numbers.percent(scale), 6)
    cut? = scale < 0.995 or subsystem.open < 0.995
    Screen.style(screen, if(cut? and not subsystem.dry_run, do: :yellow, else: :green), text)
  end

  defp stress(%{stress: nil}, screen), do: Screen.style(screen, :faint, Text.fit("-", 6))

  defp stress(%{stress: stress}, screen) do
    text = Text.fit(Numbers.number(stress / 1), 6)
    Screen.style(screen, if(stress >= 0.25, do: :red, else: :faint), text)
  end

  defp denied(_subsystem, nil, _seconds), do: "-"

  defp denied(subsystem, old, seconds) do
    denied = &(&1.denied + &1.guarded)
    per_second(denied.(subsystem) - denied.(old), seconds)
  end

  defp at_work(%{in_flight: in_flight, guard: :infinity}), do: "#{in_flight}"
  defp at_work(%{in_flight: in_flight, guard: guard}), do: "#{in_flight} of #{guard}"

  defp why(subsystem, screen) do
    sentence = if subsystem.sentence in [nil, ""], do: [], else: [subsystem.sentence]

    open =
      if subsystem.open < 1.0,
        do: [
          "the gate of this node admits #{Numbers.percent(subsystem.open)}, and sheds " <>
            Numbers.percent(1.0 - subsystem.open)
        ],
        else: []

    contained = for source <- subsystem.contained, do: "#{inspect(source)} is contained"

    dry =
      if subsystem.dry_run,
        do: ["dry run: would be #{Numbers.percent(subsystem[:asked_scale] || 1.0)}"],
        else: []

    for line <- sentence ++ agreement(subsystem[:agreement]) ++ open ++ contained ++ dry,
        do: Screen.style(screen, :faint, ["  ", Text.at_most(line, columns(screen) - 2), "\n"])
  end

  # The sentence of an agreed step names the nodes. An outage of the agreement needs a line of its own, as long as it lasts.
  defp agreement(%{state: :alone}), do: ["alone: this node decides by its own signals"]
  defp agreement(_agreed), do: []

  ## Sensors

  defp sensors(sensors, _screen) when sensors == %{}, do: []

  defp sensors(sensors, screen) do
    text =
      sensors
      |> Enum.sort()
      |> Enum.map_join("   ", &sensor/1)
      |> Text.wrap(columns(screen) - 9)

    [Screen.style(screen, :faint, "\nsensors  "), Enum.intersperse(text, "\n         "), "\n"]
  end

  defp sensor({name, %{no_opinion: nil, value: value}}),
    do: "#{name} #{Numbers.number(value)}#{@units[name]}"

  defp sensor({name, _none}), do: "#{name} no opinion"

  ## Numbers

  defp rate(new, nil, _key, _seconds) when is_map(new), do: "-"

  defp rate(new, old, key, seconds),
    do: per_second(Map.fetch!(new, key) - Map.fetch!(old, key), seconds)

  # A limiter that was removed and added again counts from zero.
  defp per_second(count, seconds), do: (max(count, 0) / seconds) |> round() |> Numbers.number()

  defp bytes(bytes) when bytes < 1_048_576, do: "#{div(bytes, 1_024)} KB"
  defp bytes(bytes), do: "#{div(bytes, 1_048_576)} MB"

  defp columns(screen), do: Map.get(screen, :columns, Screen.columns())

  defp right(texts, columns), do: Enum.map(texts, &Screen.right(&1, columns))

  defp find(nil, _key, _name), do: nil
  defp find(list, key, name), do: Enum.find(list, &(Map.fetch!(&1, key) == name))
end
