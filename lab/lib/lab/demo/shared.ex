defmodule Lab.Demo.Shared do
  @moduledoc false
  # Two nodes share one limit through a Redis of their own, which is killed and started again without its data. In real
  # time, since a Redis has no simulated clock.

  alias Lab.Demo
  alias RateLimiter.Core.Numbers
  alias RateLimiter.Support.Program
  alias Lab.Demo.Node
  alias RateLimiter.Terminal.{Screen, Text}

  @limit [limit: 40, per: :second, burst: 10]
  @nodes [{"node 1", 24}, {"node 2", 8}]
  @tick_ms 250
  @ticks 48
  @killed 16
  @back 32
  # The height of a full bar: a little more than the limit of a tick, so that a burst is visible.
  @full 20

  @lines 3 * length(@nodes) + 5

  @typep picture :: [%{redis: :up | :down, nodes: [Node.tick()]}]

  @doc "Shows the outage, live on a terminal, and sums it up. A column of the picture is a tick."
  @spec show(Screen.t(), pos_integer) :: :ok | {:error, String.t()}
  def show(screen, tick_ms \\ @tick_ms) do
    case System.find_executable("redis-server") do
      nil ->
        {:error, "redis-server is not on the path: bin/setup installs it"}

      executable ->
        # Server and nodes end with the process that starts them.
        fn -> play(screen, tick_ms, executable) end |> Task.async() |> Task.await(:infinity)
    end
  end

  defp play(screen, tick_ms, executable) do
    Demo.title(screen, "Two nodes share 40 calls a second; then their Redis is killed")

    IO.puts("""
    Node 1 makes three times as many calls as node 2, and both together more than
    the limit. After a third of the time Redis gets a kill -9, after two thirds it
    is started again, empty. A yellow bar: its node decided without Redis.
    """)

    directory = temporary!()
    server = start!(executable, directory)
    nodes = for {_name, _calls} <- @nodes, do: Node.start!(instance(directory))
    stage = %{screen: screen, server: server, nodes: nodes, tick_ms: tick_ms}
    picture = Enum.reduce(0..(@ticks - 1), [], &tick(&1, &2, stage))
    unless screen.color, do: picture |> draw(stage) |> IO.write()
    picture |> Enum.reverse() |> totals(stage) |> IO.puts()
    Enum.each(nodes, &Node.stop/1)
    Program.stop(server)
  end

  defp instance(directory) do
    [
      store: {:redis, url: "unix:" <> Path.join(directory, "socket"), nodes: length(@nodes)},
      log: false,
      stats_interval: :infinity,
      limiters: [shared: [windows: [limit: @limit], events: :none]]
    ]
  end

  # A socket instead of a port, which might be taken.
  defp start!(executable, directory) do
    arguments = ~w(--port 0 --unixsocket socket --save) ++ [""]
    {:ok, server} = Program.start_link(directory, executable, arguments)
    server
  end

  defp temporary! do
    directory = Path.join(System.tmp_dir!(), "rate_limiter_demo_#{System.pid()}")
    File.mkdir_p!(directory)
    directory
  end

  defp tick(number, picture, stage) do
    if number == @killed, do: Program.kill(stage.server)
    if number == @back, do: Program.start(stage.server)
    redis = if number in @killed..(@back - 1), do: :down, else: :up

    ticks =
      stage.nodes
      |> Enum.zip(@nodes)
      |> Enum.map(fn {node, {_name, calls}} ->
        Task.async(fn -> Node.call(node, calls, stage.tick_ms) end)
      end)
      |> Task.await_many(:infinity)

    picture = [%{redis: redis, nodes: ticks} | picture]
    if stage.screen.color, do: frame(picture, stage)
    picture
  end

  ## Drawing

  # Drawn over the frame before it.
  @spec frame(picture, map) :: :ok
  defp frame(picture, stage) do
    back = if length(picture) > 1, do: IO.ANSI.cursor_up(@lines), else: ""
    IO.write([back | draw(picture, stage)])
  end

  defp draw(picture, %{screen: screen} = stage) do
    columns = Enum.reverse(picture)

    [
      [label("Redis", "", screen), Enum.map(columns, &server(&1.redis, screen)), "\n\n"],
      for {{name, _calls}, index} <- Enum.with_index(@nodes) do
        ticks = Enum.map(columns, &Enum.at(&1.nodes, index))

        [
          [label(name, "admit", screen), Enum.map(ticks, &admitted(&1, screen)), "\n"],
          [label("", "deny", screen), Enum.map(ticks, &denied(&1, screen)), "\n\n"]
        ]
      end,
      [label("together", "admit", screen), Enum.map(columns, &together(&1, screen)), "\n\n"],
      [scale(stage), "\n"]
    ]
  end

  defp label(name, what, screen),
    do: [Screen.style(screen, :bold, Text.fit(name, 10)), Text.fit(what, 7)]

  defp server(:up, screen),
    do: Screen.style(screen, :green, if(screen.unicode, do: "━", else: "="))

  defp server(:down, screen),
    do: Screen.style(screen, :red, if(screen.unicode, do: "╳", else: "x"))

  defp admitted(tick, screen) do
    colour = if tick.source == :redis, do: :green, else: :yellow
    Screen.style(screen, colour, height(tick.admitted, screen))
  end

  defp denied(tick, screen), do: Screen.style(screen, :red, height(tick.denied, screen))

  defp together(%{nodes: ticks}, screen) do
    admitted = ticks |> Enum.map(& &1.admitted) |> Enum.sum()
    Screen.style(screen, :bold, height(admitted, screen))
  end

  defp height(calls, screen), do: Screen.height(screen, min(calls, @full), @full)

  defp scale(%{screen: screen, tick_ms: tick_ms}) do
    marks =
      Enum.map_join(0..5, fn mark -> Text.fit(Numbers.span(mark * 8 * tick_ms * 1_000_000), 8) end)

    Screen.style(screen, :faint, [String.duplicate(" ", 17), String.trim_trailing(marks)])
  end

  ## Summing up

  defp totals(columns, %{screen: screen} = stage) do
    {before, rest} = Enum.split(columns, @killed)
    {without, again} = Enum.split(rest, @back - @killed)
    phases = [before, without, again]
    titles = ["with Redis", "without", "back"]

    [
      "\n",
      Screen.style(screen, :faint, ["admitted a second" | Enum.map(titles, &Screen.right(&1, 12))]),
      for {{name, _calls}, index} <- Enum.with_index(@nodes) do
        rates = Enum.map(phases, &rate(&1, [index], stage))
        ["\n", Text.fit(name, 17), Enum.map(rates, &Screen.right(&1, 12))]
      end,
      ["\n", Text.fit("together", 17)],
      Enum.map(phases, &Screen.right(rate(&1, [0, 1], stage), 12)),
      "\n\n",
      conclusion(columns, stage)
    ]
  end

  defp rate(phase, nodes, stage) do
    admitted = for %{nodes: ticks} <- phase, node <- nodes, do: Enum.at(ticks, node).admitted
    per_second = Enum.sum(admitted) * 1_000 / (length(phase) * stage.tick_ms)
    Numbers.decimal(per_second, 1)
  end

  defp conclusion(columns, stage) do
    all = Enum.flat_map(columns, & &1.nodes)
    admitted = all |> Enum.map(& &1.admitted) |> Enum.sum()
    longest = all |> Enum.map(& &1.longest_us) |> Enum.max()
    span_ms = @ticks * stage.tick_ms
    allowed = @limit[:burst] + div(span_ms * @limit[:limit], 1_000)

    """
    With Redis the nodes share the limit by their calls; without it each has half of
    it. Admitted in total: #{Numbers.number(admitted)}; the limit allows #{Numbers.number(allowed)} in #{Numbers.span(span_ms * 1_000_000)}.
    No caller waited longer than #{div(longest, 1_000) + 1} ms.\
    """
  end
end
