defmodule RateLimiter.Top do
  @moduledoc false
  # What happens on a node now: looks at all its instances, once an interval, and draws it.

  alias RateLimiter.Terminal.Screen
  alias RateLimiter.Top.{Page, Snapshot}

  @doc "Draws `frames` pictures, or one after the other for ever, of the node that `look` looks at."
  @spec watch(Screen.t(), (() -> Snapshot.t()), pos_integer, pos_integer | :infinity) :: :ok
  def watch(screen, look, interval_ms, frames) do
    watch(screen, look, interval_ms, frames, look.())
  rescue
    # Who read it has seen enough, as `head` has.
    error in ErlangError ->
      if error.original == :terminated, do: :ok, else: reraise(error, __STACKTRACE__)
  end

  defp watch(_screen, _look, _interval_ms, 0, _before), do: :ok

  defp watch(screen, look, interval_ms, frames, before) do
    Process.sleep(interval_ms)
    now = look.()
    IO.write([clear(screen), Page.render(now, before, screen)])
    watch(screen, look, interval_ms, less(frames), now)
  end

  defp less(:infinity), do: :infinity
  defp less(frames), do: frames - 1

  # Over the picture before it, where that can be; else one below the other.
  defp clear(%{color: true}), do: [IO.ANSI.home(), IO.ANSI.clear()]
  defp clear(_screen), do: ""
end
