defmodule RateLimiter.Top.Page do
  @moduledoc false
  # One picture of a node: its instances with their limiters, subsystems and sensors.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Terminal.{Screen, Text}
  alias RateLimiter.Top.Snapshot

  @bar 8

  @doc "Returns the picture of `now`, with rates since `before`."
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
      Screen.rule(screen, instance.name),
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
    do: Screen.style(screen, style, [Text.at_most(line, Screen.columns()), "\n"])

  ## Limiters

  defp limiters(%{limiters: []}, _old, _seconds, _screen), do: []

  defp limiters(%{limiters: limiters}, old, seconds, screen) do
    titles = [
      "\n",
      Text.fit("limiter", 18),
      right(["calls/s", "denied/s", "ids"], 10),
      "  windows"
    ]

    [
      Screen.style(screen, :faint, titles),
      "\n",
      for(
        limiter <- limiters,
        do: limiter(limiter, find(old[:limiters], :name, limiter.name), seconds, screen)
      )
    ]
  end

  defp limiter(limiter, old, seconds, screen) do
    denied = rate(limiter, old, :denials, seconds)
    windows = Enum.map_join(limiter.windows, ", ", &"#{&1.name} #{&1.limit}")

    [
      Text.fit("#{limiter.name}", 18),
      right([rate(limiter, old, :checks, seconds)], 10),
      Screen.style(screen, if(denied == "0", do: :faint, else: :red), right([denied], 10)),
      right([Numbers.number(limiter.keys)], 10),
      "  ",
      Text.at_most(windows, Screen.columns() - 50),
      "\n"
    ]
  end

  ## Subsystems

  defp subsystems(%{subsystems: []}, _old, _seconds, _screen), do: []

  defp subsystems(%{subsystems: subsystems}, old, seconds, screen) do
    titles = [
      "\n",
      Text.fit("subsystem", 14),
      Text.fit("limit", 11),
      Text.fit("scale", @bar + 8),
      Text.fit("stress", 8),
      right(["calls/s", "denied/s", "at work"], 10)
    ]

    [
      Screen.style(screen, :faint, titles),
      "\n",
      for(
        subsystem <- subsystems,
        do: subsystem(subsystem, find(old[:subsystems], :name, subsystem.name), seconds, screen)
      )
    ]
  end

  defp subsystem(subsystem, old, seconds, screen) do
    [
      Text.fit("#{subsystem.name}", 14),
      Text.fit(subsystem.limit, 11),
      scale(subsystem, screen),
      stress(subsystem, screen),
      right(
        [
          rate(subsystem, old, :asked, seconds),
          denied(subsystem, old, seconds),
          at_work(subsystem)
        ],
        10
      ),
      "\n",
      why(subsystem, screen)
    ]
  end

  defp scale(%{scale: scale} = subsystem, screen) do
    bar = Screen.bar(screen, min(scale, 1.0), 1.0, @bar)
    text = Text.fit(bar, @bar + 1) <> Text.fit(Numbers.percent(scale), 7)

    Screen.style(
      screen,
      if(scale < 0.995 and not subsystem.dry_run, do: :yellow, else: :green),
      text
    )
  end

  defp stress(%{stress: nil}, screen), do: Screen.style(screen, :faint, Text.fit("-", 8))

  defp stress(%{stress: stress}, screen) do
    text = Text.fit(Numbers.number(stress / 1), 8)
    Screen.style(screen, if(stress >= 0.25, do: :red, else: :faint), text)
  end

  defp denied(subsystem, old, seconds) do
    denied = &(&1.denied + &1.guarded + &1.shed)
    old = if old, do: denied.(old), else: 0
    per_second(denied.(subsystem) - old, seconds)
  end

  defp at_work(%{in_flight: in_flight, guard: :infinity}), do: "#{in_flight}"
  defp at_work(%{in_flight: in_flight, guard: guard}), do: "#{in_flight} of #{guard}"

  defp why(subsystem, screen) do
    sentence = if subsystem.sentence in [nil, ""], do: [], else: [subsystem.sentence]

    open =
      if subsystem.open < 1.0,
        do: ["the gate of this node admits #{Numbers.percent(subsystem.open)}"],
        else: []

    contained = for source <- subsystem.contained, do: "#{inspect(source)} is contained"

    dry =
      if subsystem.dry_run,
        do: ["dry run: would be #{Numbers.percent(subsystem[:asked_scale] || 1.0)}"],
        else: []

    for line <- sentence ++ agreement(subsystem[:agreement]) ++ open ++ contained ++ dry,
        do: Screen.style(screen, :faint, ["  ", Text.at_most(line, Screen.columns() - 2), "\n"])
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
      |> Text.wrap(Screen.columns() - 9)

    [Screen.style(screen, :faint, "\nsensors  "), Enum.intersperse(text, "\n         "), "\n"]
  end

  defp sensor({name, %{no_opinion: nil, value: value}}), do: "#{name} #{Numbers.number(value)}"
  defp sensor({name, _none}), do: "#{name} no opinion"

  ## Numbers

  defp rate(new, nil, _key, _seconds) when is_map(new), do: "-"

  defp rate(new, old, key, seconds),
    do: per_second(Map.fetch!(new, key) - Map.fetch!(old, key), seconds)

  # A limiter that was removed and added again counts from zero.
  defp per_second(count, seconds), do: (max(count, 0) / seconds) |> round() |> Numbers.number()

  defp bytes(bytes) when bytes < 1_048_576, do: "#{div(bytes, 1_024)} KB"
  defp bytes(bytes), do: "#{div(bytes, 1_048_576)} MB"

  defp right(texts, columns), do: Enum.map(texts, &Screen.right(&1, columns))

  defp find(nil, _key, _name), do: nil
  defp find(list, key, name), do: Enum.find(list, &(Map.fetch!(&1, key) == name))
end
