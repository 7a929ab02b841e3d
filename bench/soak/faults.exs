defmodule Bench.Soak.Faults do
  @moduledoc false
  # Breaks a Redis, again and again, in turn.

  alias RateLimiter.Support.Redis

  @pause_ms 700
  @fault_ms 600

  @spec start(struct) :: pid
  def start(server), do: spawn_link(fn -> loop(server, 0) end)

  @doc "Returns once the server works, and stays so until `resume/1`."
  @spec pause(pid) :: :ok
  def pause(faults) do
    send(faults, {:pause, self()})
    receive do: ({:paused, ^faults} -> :ok)
  end

  @spec resume(pid) :: :ok
  def resume(faults) do
    send(faults, :resume)
    :ok
  end

  @doc "Returns how many faults there were."
  @spec stop(pid) :: non_neg_integer
  def stop(faults) do
    send(faults, {:stop, self()})
    receive do: ({:stopped, ^faults, count} -> count)
  end

  defp loop(server, count) do
    receive do
      {:pause, from} ->
        send(from, {:paused, self()})
        receive do: (:resume -> loop(server, count))

      {:stop, from} ->
        send(from, {:stopped, self(), count})
    after
      @pause_ms ->
        fault(rem(count, 5), server)
        loop(server, count + 1)
    end
  end

  defp fault(0, server) do
    Redis.freeze(server)
    Process.sleep(@fault_ms)
    Redis.thaw(server)
  end

  defp fault(1, server) do
    Redis.kill(server)
    Process.sleep(@fault_ms)
    Redis.restart!(server)
  end

  defp fault(2, server),
    do: Redis.command!(server, ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])

  defp fault(3, server) do
    Redis.command!(server, ["CONFIG", "SET", "maxmemory", "1"])
    Process.sleep(@fault_ms)
    Redis.command!(server, ["CONFIG", "SET", "maxmemory", "0"])
  end

  defp fault(4, server), do: Redis.command!(server, ["FLUSHALL"])
end
