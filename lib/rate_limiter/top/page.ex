defmodule RateLimiter.Top.Page do
  @moduledoc false
  # One picture of a node: its instances with their limiters, subsystems and sensors.

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Redis.Client
  alias RateLimiter.Terminal.{Screen, Text}
  alias RateLimiter.Top.{Figures, History, Snapshot}

  @bar 6
  @least_name 18
  @least_subsystem 12
  @no_break "\u00A0"

  @doc """
  Returns the picture of `now`, with rates since `before` and those of the `history`, in the `:columns` of the screen, by
  default 80.
  """
  @spec render(Snapshot.t(), Snapshot.t(), Screen.t(), History.t()) :: iodata
  def render(now, before, screen, history \\ %{}) do
    instances = Figures.instances(now, before)

    [
      [
        Screen.style(screen, :bold, "#{now.node}"),
        "  #{Calendar.strftime(now.date, "%H:%M:%S")} UTC\n"
      ],
      if(instances == [], do: "\nno instance of RateLimiter is running\n", else: []),
      for(
        instance <- instances,
        do: instance(instance, Map.get(history, instance.name, []), screen)
      )
    ]
  end

  defp instance(instance, rates, screen) do
    [
      "\n",
      Screen.rule(screen, instance.name, columns(screen)),
      "#{instance.store}, #{Numbers.count(instance.keys, "id")}, #{Figures.bytes(instance.memory)}#{health(instance.health)}\n",
      history(rates, screen),
      redis(instance.redis, screen),
      limiters(instance.limiters, screen),
      subsystems(instance.subsystems, screen),
      sensors(instance.sensors, screen)
    ]
  end

  defp health(:ok), do: ""
  defp health(other), do: ", #{inspect(other)}"

  ## History

  defp history([_, _ | _] = rates, screen) do
    # The newest stands at the right.
    {calls, denied} = rates |> Enum.take(columns(screen) - 30) |> Enum.reverse() |> Enum.unzip()
    style = if Enum.max(denied) > 0, do: :red, else: :faint

    [
      Screen.style(screen, :faint, history("calls/s", calls, screen)),
      Screen.style(screen, style, history("denied/s", denied, screen))
    ]
  end

  defp history(_none_yet, _screen), do: []

  defp history(title, rates, screen) do
    most = Enum.max(rates)
    bars = Enum.map(rates, &Screen.height(screen, &1, most))
    [Text.fit(title, 10), bars, "  most #{Numbers.number(most)}\n"]
  end

  ## Redis

  defp redis(nil, _screen), do: []

  defp redis(redis, screen) do
    numbers =
      for key <- [:calls, :batches, :timeouts, :refused],
          do: "#{Figures.rate(redis.rates, key)} #{key}/s"

    problem = if redis.problem, do: ["  #{redis.problem}"], else: []

    [
      "nodes #{redis.nodes}, ",
      Enum.join(numbers, ", "),
      "\n",
      for(line <- problem, do: cut(line, :red, screen)),
      for(server <- redis.servers, do: server(server, Client.healthy?(server), screen))
    ]
  end

  defp server(server, true, screen), do: cut("  #{about(server)}", :faint, screen)

  defp server(%{problem: problem} = server, false, screen),
    do: cut("  #{about(server)}#{if problem, do: ": #{problem}"}", :red, screen)

  defp about(server) do
    "#{server.server}  breaker #{Figures.breaker(server.breaker)}, connections #{server.connections}, " <>
      "pending #{server.pending}"
  end

  defp cut(line, style, screen),
    do: Screen.style(screen, style, [Text.at_most(line, columns(screen)), "\n"])

  ## Limiters

  defp limiters([], _screen), do: []

  defp limiters(limiters, screen) do
    longest = limiters |> Enum.map(&Text.width("#{&1.name}")) |> Enum.max()
    # At least 30 columns are left to the windows.
    name = (longest + 1) |> min(columns(screen) - 62) |> max(@least_name)
    titles = [Text.fit("limiter", name), right(["calls/s", "denied/s", "ids"], 10), "  windows"]

    [
      "\n",
      Screen.style(screen, :faint, titles),
      "\n",
      for(limiter <- limiters, do: limiter(limiter, name, screen))
    ]
  end

  defp limiter(limiter, name, screen) do
    denied = Figures.rate(limiter.rates, :denied)
    windows = Enum.map_join(limiter.windows, ", ", &"#{&1.name} #{&1.limit}")

    [
      Text.fit("#{limiter.name}", name),
      right([Figures.rate(limiter.rates, :calls)], 10),
      Screen.style(screen, if(denied == "0", do: :faint, else: :red), right([denied], 10)),
      right([Numbers.number(limiter.keys)], 10),
      "  ",
      Text.at_most(windows, columns(screen) - name - 32),
      "\n"
    ]
  end

  ## Subsystems

  defp subsystems([], _screen), do: []

  defp subsystems(subsystems, screen) do
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
      for(subsystem <- subsystems, do: subsystem(subsystem, name, screen))
    ]
  end

  defp subsystem(%{rates: rates} = subsystem, name, screen) do
    shed = Figures.rate(rates, :shed)

    [
      Text.fit("#{subsystem.name}", name),
      Text.fit(subsystem.limit, 10),
      scale(subsystem, screen),
      stress(subsystem, screen),
      right([Figures.rate(rates, :calls), Figures.rate(rates, :denied)], 9),
      Screen.style(screen, if(shed in ["0", "-"], do: :faint, else: :red), right([shed], 9)),
      Screen.right(Figures.at_work(subsystem), 10),
      "\n",
      for(
        line <- Figures.reasons(subsystem),
        do: Screen.style(screen, :faint, ["  ", Text.at_most(line, columns(screen) - 2), "\n"])
      )
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

  ## Sensors

  defp sensors(sensors, _screen) when sensors == %{}, do: []

  defp sensors(sensors, screen) do
    text =
      sensors
      |> Enum.sort()
      |> Enum.map_join("   ", &(&1 |> Figures.sensor() |> String.replace(" ", @no_break)))
      |> Text.wrap(columns(screen) - 9)
      |> Enum.map(&String.replace(&1, @no_break, " "))

    [Screen.style(screen, :faint, "\nsensors  "), Enum.intersperse(text, "\n         "), "\n"]
  end

  defp columns(screen), do: Map.get(screen, :columns, Screen.columns())

  defp right(texts, columns), do: Enum.map(texts, &Screen.right(&1, columns))
end
