defmodule RateLimiter.Sensors.Memory do
  @moduledoc false
  # The memory of the runtime as a share of its limit.

  @behaviour RateLimiter.Health

  @groups ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
  @machine "/proc/meminfo"

  @impl true
  def init(options), do: options[:limit] || limit()

  @impl true
  def measure(nil),
    do: {:no_opinion, "the memory of this system is unknown: set :limit", nil}

  def measure(limit), do: {:ok, :erlang.memory(:total) / limit, limit}

  # The limit of a control group without a limit is "max", or a number above the memory of any machine.
  defp limit do
    [machine() | Enum.map(@groups, &group/1)] |> Enum.reject(&is_nil/1) |> Enum.min(fn -> nil end)
  end

  defp group(path) do
    with {:ok, text} <- File.read(path),
         {bytes, _rest} when bytes > 0 <- Integer.parse(text),
         do: bytes,
         else: (_none -> nil)
  end

  defp machine do
    with {:ok, text} <- File.read(@machine),
         [_all, kilobytes] <- Regex.run(~r/^MemTotal:\s+(\d+) kB/m, text),
         do: String.to_integer(kilobytes) * 1_024,
         else: (_none -> nil)
  end
end
