defmodule Lab.Demo.Node do
  @moduledoc false
  # One of the two nodes: a VM of its own, whose operating-system process ends with the demo in any case. The demo calls it
  # through its standard input and output, so it needs no name and no port.

  @boot_ms 120_000

  @type t :: pid
  @type tick :: %{
          admitted: non_neg_integer,
          denied: non_neg_integer,
          source: :redis | :fallback,
          longest_us: non_neg_integer
        }

  @doc "Boots a node, and starts an instance with these options on it."
  @spec start!(keyword) :: t
  def start!(instance) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

    options = %{connection: :standard_io, args: paths, wait_boot: @boot_ms}
    {:ok, node, _name} = on_terminal(fn -> :peer.start_link(options) end)

    {:ok, _started} = remote(node, :application, :ensure_all_started, [:rate_limiter])
    :ok = remote(node, __MODULE__, :serve, [instance])
    node
  end

  @doc "Makes calls on the node, evenly spread over the span."
  @spec call(t, pos_integer, pos_integer) :: tick
  def call(node, calls, span_ms), do: remote(node, __MODULE__, :tick, [calls, span_ms])

  @spec stop(t) :: :ok
  def stop(node), do: :peer.stop(node)

  @doc false
  # Runs on the node. The process of the call ends with it, so another one holds the instance.
  def serve(instance) do
    caller = self()

    holder =
      spawn(fn ->
        {:ok, _supervisor} = RateLimiter.start_link(instance)
        send(caller, {self(), :ready})
        Process.sleep(:infinity)
      end)

    receive do: ({^holder, :ready} -> :ok)
    connected()
  end

  # An instance starts before Redis is connected.
  defp connected do
    case RateLimiter.get_usage(:shared, :all) do
      {:ok, %{source: :redis}} ->
        :ok

      _not_yet ->
        Process.sleep(10)
        connected()
    end
  end

  @doc false
  # Runs on the node.
  def tick(calls, span_ms) do
    begin = System.monotonic_time(:millisecond)
    blank = %{admitted: 0, denied: 0, source: :redis, longest_us: 0}

    Enum.reduce(0..(calls - 1), blank, fn number, tick ->
      due = begin + div(number * span_ms, calls)
      Process.sleep(max(0, due - System.monotonic_time(:millisecond)))
      {us, answer} = :timer.tc(fn -> RateLimiter.check_and_track(:shared, :all, :limit) end)
      count(%{tick | longest_us: max(tick.longest_us, us)}, answer)
    end)
  end

  defp count(tick, {:ok, usage}), do: %{tick | admitted: tick.admitted + 1, source: usage.source}

  defp count(tick, {:error, _why, usage}),
    do: %{tick | denied: tick.denied + 1, source: usage.source}

  # The new node queries the group leader for its terminal, and does not boot with the one of a captured output.
  defp on_terminal(start) do
    leader = Process.group_leader()
    Process.group_leader(self(), Process.whereis(:user))
    started = start.()
    Process.group_leader(self(), leader)
    started
  end

  defp remote(node, module, function, arguments),
    do: :peer.call(node, module, function, arguments, @boot_ms)
end
