defmodule RateLimiter.Replay.Progress do
  @moduledoc false
  # The progress of a long replay, on one line of standard error.

  alias RateLimiter.Core.Numbers

  @enforce_keys [:shown?, :started, :first]
  defstruct [:shown?, :started, :first]

  @type t :: %__MODULE__{shown?: boolean, started: integer, first: integer}

  # A short replay shows none unless `--progress` asks for it.
  @first_ms 500
  @every_ms 200

  @doc "Starts. `nil` shows the progress only if standard error is a terminal."
  @spec start(boolean | nil) :: t
  def start(nil), do: %__MODULE__{shown?: terminal?(), started: now(), first: now() + @first_ms}
  def start(shown?), do: %__MODULE__{shown?: shown?, started: now(), first: now()}

  @doc "Shows the progress, at most every 200 ms."
  @spec update(t, map | :fitting) :: :ok
  def update(%__MODULE__{shown?: false}, _reached), do: :ok

  def update(_progress, :fitting) do
    if Process.get(__MODULE__), do: show("searching the smallest limits ...")
    :ok
  end

  def update(progress, reached) do
    if now() >= Process.get(__MODULE__, progress.first) do
      Process.put(__MODULE__, now() + @every_ms)
      show(text(reached, now() - progress.started))
    end

    :ok
  end

  @doc "Clears the line before the report."
  @spec stop(t) :: :ok
  def stop(_progress) do
    if Process.delete(__MODULE__), do: IO.write(:stderr, "\r\e[K")
    :ok
  end

  defp text(%{lines: lines, bytes: bytes, size: size}, ms) do
    share = if size, do: "#{min(100, div(bytes * 100, max(size, 1)))} %  ", else: ""

    "#{share}#{Numbers.count(lines, "line")}  #{Numbers.number(div(lines * 1_000, max(ms, 1)))} a second"
  end

  defp show(text), do: IO.write(:stderr, ["\r\e[K", text])

  # Before OTP 26 the runtime does not know; a child process has the same standard error.
  defp terminal? do
    match?({_, 0}, System.cmd("sh", ["-c", "test -t 2"]))
  rescue
    ErlangError -> false
  end

  defp now, do: System.monotonic_time(:millisecond)
end
