defmodule RateLimiter.Sensors.Memory do
  @moduledoc false
  # The memory of the runtime as a share of what it may have.

  @behaviour RateLimiter.Health

  @groups ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
  @machine "/proc/meminfo"

  @impl true
  def init(options), do: options[:limit] || limit()

  @impl true
  def measure(nil),
    do: {:no_opinion, "this system does not say how much memory there is: give it a :limit", nil}

  def measure(limit), do: {:ok, :erlang.memory(:total) / limit, limit}

  # A control group without a limit says "max", or a number above any machine's.
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
