defmodule RateLimiter.VSM.Pace do
  @moduledoc false
  # Time that a test moves: the loops step when their interval has passed on its clock, one after the other, and have
  # done so when the clock stands still again.

  alias RateLimiter.Store
  alias RateLimiter.Core.Native
  alias RateLimiter.Sensors.Monitor
  alias RateLimiter.VSM.{Controller, Space}

  # Who moves a clock by days wants to see what lies there, and not each second on the way.
  @most_steps 1_000
  @ms 1_000_000

  @doc "Moves the clock on by `ns`."
  @spec advance(Space.t(), Native.clock(), non_neg_integer) :: :ok
  def advance(table, clock, ns) do
    now = Store.manual_clock_now(clock)
    interval = Space.config(table).interval * @ms
    last = Space.get(table, :stepped_ns, now - rem(now, interval))
    steps = div(now + ns - last, interval)
    stride = interval * max(1, ceil(steps / @most_steps))

    # What cannot wait happens before time goes on.
    for {name, _own} <- Space.config(table).subsystems, do: Controller.settle(table, name)
    if steps > 0, do: step(table, clock, last + stride, stride, now + ns)
    Store.manual_clock_set(clock, now + ns)
    :ok
  end

  defp step(_table, _clock, at, _stride, until) when at > until, do: :ok

  defp step(table, clock, at, stride, until) do
    Store.manual_clock_set(clock, at)
    %{subsystems: subsystems, sensors: sensors} = Space.config(table)
    for {name, _own} <- subsystems, do: Controller.step(table, name)
    if sensors != [], do: Monitor.step(table)
    Space.put(table, :stepped_ns, at)
    step(table, clock, at + stride, stride, until)
  end
end
