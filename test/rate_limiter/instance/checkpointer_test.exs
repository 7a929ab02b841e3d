defmodule RateLimiter.Instance.CheckpointerTest do
  # When checkpoints are written.
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Instance.Checkpointer

  @moduletag :tmp_dir
  @moduletag :capture_log

  setup context do
    %{
      name: context.test,
      options: [
        name: context.test,
        limiters: [{context.test, [windows: [w: [limit: 10, per: :day]]]}],
        checkpoint: [path: context.tmp_dir, every: 20, keep: 2]
      ]
    }
  end

  defp checkpointer(supervisor) do
    [pid] = for {Checkpointer, pid, _, _} <- Supervisor.which_children(supervisor), do: pid
    pid
  end

  test "writes at the interval, and a killed instance continues from the last file", context do
    supervisor = start_supervised!({RateLimiter, context.options}, restart: :temporary)
    {:ok, _} = RateLimiter.check_and_track(context.name, "ann", :w, cost: 4)
    eventually(fn -> match?(%{keys: 1}, RateLimiter.stats(context.name).checkpoint) end)
    Process.exit(supervisor, :kill)
    eventually(fn -> RateLimiter.health_check(context.name) == {:error, :not_running} end)
    eventually(fn -> RateLimiter.Core.Native.handle(context.name) == nil end)

    start_supervised!({RateLimiter, context.options}, id: :again)
    assert {:ok, %{remaining: 6}} = RateLimiter.get_usage(context.name, "ann", :w)
  end

  test "continues after a crash of its own, without a file for it", context do
    options = put_in(context.options, [:checkpoint, :every], :infinity)
    supervisor = start_supervised!({RateLimiter, options})
    {:ok, _} = RateLimiter.check_and_track(context.name, "ann", :w, cost: 4)
    old = checkpointer(supervisor)
    Process.exit(old, :kill)
    eventually(fn -> is_pid(checkpointer(supervisor)) and checkpointer(supervisor) != old end)
    assert File.ls!(context.tmp_dir) == []
    assert {:ok, %{remaining: 6}} = RateLimiter.get_usage(context.name, "ann", :w)
    stop_supervised!(context.name)
    assert [_one] = File.ls!(context.tmp_dir)
  end

  test "an instance without the option has no process for it", context do
    supervisor = start_supervised!({RateLimiter, Keyword.delete(context.options, :checkpoint)})
    refute Enum.any?(Supervisor.which_children(supervisor), &(elem(&1, 0) == Checkpointer))
    refute Map.has_key?(RateLimiter.stats(context.name), :checkpoint)
  end

  test "calls are answered while one is written", context do
    start_supervised!({RateLimiter, context.options})
    limiter = context.name
    for id <- 1..20_000, do: {:ok, _} = RateLimiter.check_and_track(limiter, id, :w)
    before = RateLimiter.stats(limiter).checkpoint.keys

    # Each call is exact, however many files are written meanwhile.
    for _ <- 1..9, id <- 1..2_000, do: {:ok, _} = RateLimiter.check_and_track(limiter, id, :w)

    for id <- 1..2_000,
        do: {:error, :rate_limited, _} = RateLimiter.check_and_track(limiter, id, :w)

    eventually(fn -> RateLimiter.stats(limiter).checkpoint.keys == 20_000 end)
    assert before == nil or before <= 20_000
  end
end
