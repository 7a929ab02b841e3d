defmodule RateLimiter.Support.Processes do
  @moduledoc "Processes that end."

  import ExUnit.Assertions

  @doc "Kills a process without its link to the caller, and returns when it has ended."
  @spec kill(pid) :: :ok
  def kill(pid) do
    Process.unlink(pid)
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, :process, ^pid, _reason}, 30_000
    :ok
  end
end
