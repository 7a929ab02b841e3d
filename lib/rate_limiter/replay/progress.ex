defmodule RateLimiter.Replay.Progress do
  @moduledoc false
  # How far a long replay is, on one line of standard error that is written over.

  alias RateLimiter.Core.Numbers

  @enforce_keys [:shown?, :started, :first]
  defstruct [:shown?, :started, :first]

  @type t :: %__MODULE__{shown?: boolean, started: integer, first: integer}

  # Unless it is asked for, nobody waits for what is done in a moment; and more often than this no eye follows.
  @first_ms 500
  @every_ms 200

  @doc "Starts; `nil` shows it where standard error is a terminal."
  @spec start(boolean | nil) :: t
  def start(nil), do: %__MODULE__{shown?: terminal?(), started: now(), first: now() + @first_ms}
  def start(shown?), do: %__MODULE__{shown?: shown?, started: now(), first: now()}

  @doc "Shows what was reached, if it is time to."
  @spec update(t, map | :fitting) :: :ok
  def update(%__MODULE__{shown?: false}, _reached), do: :ok

  def update(_progress, :fitting) do
    if Process.get(__MODULE__), do: show("looking for the smallest limits ...")
    :ok
  end

  def update(progress, reached) do
    if now() >= Process.get(__MODULE__, progress.first) do
      Process.put(__MODULE__, now() + @every_ms)
      show(words(reached, now() - progress.started))
    end

    :ok
  end

  @doc "Clears the line, so that the report begins on an empty one."
  @spec stop(t) :: :ok
  def stop(_progress) do
    if Process.delete(__MODULE__), do: IO.write(:stderr, "\r\e[K")
    :ok
  end

  defp words(%{lines: lines, bytes: bytes, size: size}, ms) do
    share = if size, do: "#{min(100, div(bytes * 100, max(size, 1)))} %  ", else: ""

    "#{share}#{Numbers.count(lines, "line")}  #{Numbers.number(div(lines * 1_000, max(ms, 1)))} a second"
  end

  defp show(text), do: IO.write(:stderr, ["\r\e[K", text])

  # A child has the same standard error, and can be asked; the runtime cannot before OTP 26.
  defp terminal? do
    match?({_, 0}, System.cmd("sh", ["-c", "test -t 2"]))
  rescue
    ErlangError -> false
  end

  defp now, do: System.monotonic_time(:millisecond)
end
