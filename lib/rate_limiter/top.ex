defmodule RateLimiter.Top do
  @moduledoc """
  A picture of the limiters, subsystems and sensors of a node.

  `mix rate_limiter.top --node shop@db1` draws it live from another terminal. A release has no Mix; there:

      bin/my_app rpc 'RateLimiter.Top.print()'
  """

  alias RateLimiter.Terminal.Screen
  alias RateLimiter.Top.{Live, Page, Snapshot}

  @doc """
  Prints what all instances of this node do, with the rates of one interval.

  `mix help rate_limiter.top` describes the columns.

  ## Options

    * `:interval` - the milliseconds between the two readings that the rates come from, by default 1,000
  """
  @spec print(keyword) :: :ok
  def print(options \\ []) do
    options = Keyword.validate!(options, interval: 1_000)
    watch(Screen.of_stdout(), &Snapshot.take/0, options[:interval], 1)
  end

  @doc false
  # Draws `frames` pictures of the node that `read` reads; without an end and in a terminal, on its alternate screen. Ends
  # early when the reader of the output is gone, like `head`.
  @spec watch(Screen.t(), (... -> Snapshot.t()), pos_integer, pos_integer | :infinity) :: :ok
  def watch(screen, read, interval_ms, frames) do
    if screen.color and frames == :infinity,
      do: Live.run(screen, read, interval_ms),
      else: draw(screen, read, interval_ms, frames, read.())
  rescue
    error in ErlangError ->
      if error.original == :terminated, do: :ok, else: reraise(error, __STACKTRACE__)
  end

  defp draw(_screen, _read, _interval_ms, 0, _before), do: :ok

  defp draw(screen, read, interval_ms, frames, before) do
    Process.sleep(interval_ms)
    now = read.()
    IO.write(Page.render(now, before, screen))
    draw(screen, read, interval_ms, if(frames == :infinity, do: frames, else: frames - 1), now)
  end
end
