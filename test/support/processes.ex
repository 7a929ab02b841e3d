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

  @doc """
  Starts the application again, which forgets the kills that its supervisor has seen.

  More than three within five seconds would end it, whichever tests they come from.
  """
  @spec restart_application(map) :: :ok
  def restart_application(_context \\ %{}) do
    ExUnit.CaptureLog.capture_log(fn -> :ok = Application.stop(:rate_limiter) end)
    :ok = Application.start(:rate_limiter)
  end
end
