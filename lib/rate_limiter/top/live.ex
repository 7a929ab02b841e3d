defmodule RateLimiter.Top.Live do
  @moduledoc false
  # The picture in a terminal: on the alternate screen, in its size, with keys that scroll and quit.

  alias RateLimiter.Terminal.{Screen, Text}
  alias RateLimiter.Top.{Figures, History, Page, Snapshot}

  @enter "\e[?1049h\e[?25l"
  @leave "\e[?25h\e[?1049l"
  @smallest {80, 24}
  @ctrl_c "\x03"

  @doc "Shows pictures of the node that `read` reads until `q` or Ctrl-C."
  @spec run(Screen.t(), (... -> Snapshot.t()), pos_integer) :: :ok
  def run(screen, read, interval_ms) do
    settings = stty("-g")
    # Without signals, Ctrl-C is a key, and not the menu of the Erlang runtime.
    stty("-icanon -echo -isig")
    keys = spawn_link(keys_to(self()))
    IO.write(@enter)

    try do
      before = read.()
      state = %{screen: screen, read: read, interval_ms: interval_ms, offset: 0, history: %{}}
      loop(state, before, before)
    after
      Process.unlink(keys)
      Process.exit(keys, :kill)
      IO.write(@leave)
      stty(settings)
    end
  end

  defp loop(state, now, before) do
    size = {columns, _rows} = size()
    screen = Map.put(state.screen, :columns, columns)

    lines =
      now
      |> Page.render(before, screen, state.history)
      |> IO.iodata_to_binary()
      |> String.split("\n")

    {picture, offset} = view(lines, size, state.offset)
    IO.write(["\e[H", picture, "\e[J"])
    wait(%{state | offset: offset}, now, before, now.at_ms + state.interval_ms)
  end

  defp wait(state, now, before, due_ms) do
    rest = max(0, min(state.interval_ms, due_ms - System.monotonic_time(:millisecond)))

    receive do
      {:key, key} when key in ["q", "Q", @ctrl_c, :closed] -> :ok
      {:key, key} -> loop(%{state | offset: scrolled(state.offset, key)}, now, before)
    after
      # A remote node has a clock of its own.
      if(before == now, do: state.interval_ms, else: rest) -> next(state, now)
    end
  end

  defp next(state, before) do
    now = state.read.()
    history = History.add(state.history, Figures.instances(now, before))
    loop(%{state | history: history}, now, before)
  end

  @doc false
  # Returns what fits of the lines from `offset` on, with the first one always above, and the offset that was possible.
  @spec view([String.t()], {pos_integer, pos_integer}, integer) :: {iodata, non_neg_integer}
  def view([title | lines], {columns, rows}, offset) do
    lines = if List.last(lines) == "", do: Enum.drop(lines, -1), else: lines
    room = rows - 2
    offset = offset |> min(length(lines) - room) |> max(0)
    last = min(offset + room, length(lines))

    status =
      if length(lines) > room,
        do: "lines #{offset + 1} to #{last} of #{length(lines)}: arrows scroll, q quits",
        else: "q quits"

    shown = Enum.slice(lines, offset, room)
    shown = shown ++ List.duplicate("", room - length(shown))
    lines = [title | shown] |> Enum.map(&[&1, "\e[K\r\n"])
    {[lines, Text.at_most(status, columns), "\e[K"], offset}
  end

  @doc false
  @spec scrolled(integer, String.t()) :: integer
  def scrolled(offset, key) when key in ["\e[A", "\eOA", "k"], do: offset - 1
  def scrolled(offset, key) when key in ["\e[B", "\eOB", "j"], do: offset + 1
  def scrolled(offset, "\e[5~"), do: offset - 15
  def scrolled(offset, key) when key in ["\e[6~", " "], do: offset + 15
  def scrolled(_offset, key) when key in ["\e[H", "g"], do: 0
  def scrolled(_offset, key) when key in ["\e[F", "G"], do: 1_000_000
  def scrolled(offset, _key), do: offset

  defp keys_to(receiver), do: fn -> read_keys(receiver) end

  defp read_keys(receiver) do
    case key() do
      key when is_binary(key) ->
        send(receiver, {:key, key})
        read_keys(receiver)

      _closed ->
        send(receiver, {:key, :closed})
    end
  end

  # An escape sequence is one key.
  defp key do
    with "\e" <- IO.getn("", 1),
         second when second in ["[", "O"] <- IO.getn("", 1),
         do: sequence("\e" <> second)
  end

  defp sequence(begun) do
    case IO.getn("", 1) do
      <<char>> = last when char in ?0..?9 or char == ?; -> sequence(begun <> last)
      last when is_binary(last) -> begun <> last
      closed -> closed
    end
  end

  defp size do
    with text when is_binary(text) <- stty("size"),
         [rows, columns] <- text |> String.split() |> Enum.map(&Integer.parse/1),
         {rows, ""} when rows > 0 <- rows,
         {columns, ""} when columns > 0 <- columns do
      {columns, rows}
    else
      _ -> @smallest
    end
  end

  defp stty(nil), do: nil

  # A child process has neither this terminal as its own nor as its standard input, so its device is named.
  defp stty(arguments) do
    with {device, 0} <- System.cmd("ps", ["-o", "tty=", "-p", System.pid()]),
         path = "/dev/" <> String.trim(device),
         {text, 0} <-
           System.cmd("sh", ["-c", "stty #{arguments} < #{path}"], stderr_to_stdout: true) do
      String.trim(text)
    else
      _ -> nil
    end
  end
end
