defmodule RateLimiter.Test.Clock do
  @moduledoc false
  # The clock of a test with subsystems. When the test moves the clock over an interval, the control loops step one
  # after the other, and have finished their steps when `advance/3` returns.

  alias RateLimiter.Core.Native
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Store
  alias RateLimiter.VSM.Table

  # A test that moves its clock by days gets fewer and longer steps.
  @max_steps 1_000
  @ns_per_ms 1_000_000

  @doc "Moves the clock forward by `ns`."
  @spec advance(Table.t(), Native.clock(), non_neg_integer) :: :ok
  def advance(table, clock, ns) do
    now = Store.manual_clock_now(clock)
    interval = Table.config(table).interval * @ns_per_ms
    last = Table.get(table, :stepped_ns, now - rem(now, interval))
    steps = div(now + ns - last, interval)
    stride = interval * max(1, ceil(steps / @max_steps))

    # Urgent steps that are already requested belong to the time before the move.
    for {name, _own} <- Table.config(table).subsystems, do: await({:controller, table, name})
    if steps > 0, do: step(table, clock, last + stride, stride, now + ns)
    Store.manual_clock_set(clock, now + ns)
    :ok
  end

  @doc "Has a controller or monitor take a step, and returns after it."
  @spec step(Registry.key()) :: :ok
  def step(key) do
    with pid when is_pid(pid) <- Registry.whereis(key), do: send(pid, :tick)
    await(key)
  end

  @doc "Returns when the process has handled all messages that it had received."
  @spec await(Registry.key()) :: :ok
  def await(key) do
    _state = :sys.get_state(Registry.via(key), :infinity)
    :ok
  end

  defp step(_table, _clock, at, _stride, until) when at > until, do: :ok

  defp step(table, clock, at, stride, until) do
    Store.manual_clock_set(clock, at)
    %{subsystems: subsystems, sensors: sensors} = Table.config(table)
    for {name, _own} <- subsystems, do: step({:controller, table, name})
    if sensors != [], do: step({:monitor, table})
    Table.put(table, :stepped_ns, at)
    step(table, clock, at + stride, stride, until)
  end
end
