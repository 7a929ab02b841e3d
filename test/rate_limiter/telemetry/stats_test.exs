defmodule RateLimiter.Telemetry.StatsTest do
  # Not async: a reporter that reports every millisecond for a whole test takes time from others.
  use ExUnit.Case

  alias RateLimiter.Support.Redis.Heard

  @stats [:rate_limiter, :stats]
  @memory [:rate_limiter, :memory]
  @windows [burst: [limit: 4, per: :day], slow: [limit: 5, per: :day]]

  setup do
    name = {__MODULE__, make_ref()}
    Heard.listen(name, [@stats, @memory])
    start_supervised!({RateLimiter, name: name, stats_interval: 1})
    [name: name, limiter: :"telemetry_stats_#{System.unique_integer([:positive])}"]
  end

  # The sums of the events of a window, until they are `expected` and `more` events have followed.
  defp sums(limiter, window, sums, expected, more \\ 3)
  defp sums(_limiter, _window, sums, _expected, 0), do: sums

  defp sums(limiter, window, sums, expected, more) do
    assert_receive {:event, @stats, counts, %{limiter: ^limiter, window: ^window}}, 30_000
    sums = Map.merge(sums, counts, fn _key, one, other -> one + other end)
    reached? = Map.take(sums, Map.keys(expected)) == expected
    sums(limiter, window, sums, expected, if(reached?, do: more - 1, else: more))
  end

  test "the sum of all events of a window is what it counted", %{name: name, limiter: limiter} do
    :ok = RateLimiter.add_limiter(limiter, [windows: @windows, threshold: 0.8], name)
    for _ <- 1..6, do: RateLimiter.check_and_track(limiter, "u", :burst)
    first = sums(limiter, :burst, %{}, %{checks: 6})

    assert first ==
             %{
               checks: 6,
               allowed: 4,
               denied: 2,
               unavailable: 0,
               fallbacks: 0,
               thresholds: 1,
               would_deny: 0
             }

    {:ok, _} = RateLimiter.check_and_track(limiter, "v", [:burst, :slow], cost: 2)
    {:error, :rate_limited, _} = RateLimiter.check_and_track(limiter, "v", :slow, cost: 4)
    assert %{allowed: 5, denied: 2} = sums(limiter, :burst, first, %{checks: 7})
    assert %{allowed: 0, denied: 1} = sums(limiter, :slow, %{}, %{checks: 1})
  end

  test "a crash of the reporter repeats no count", %{name: name, limiter: limiter} do
    :ok = RateLimiter.add_limiter(limiter, [windows: @windows], name)
    supervisor = RateLimiter.Instance.Registry.whereis({:instance, name})

    sums =
      Enum.reduce(1..20, %{}, fn round, sums ->
        RateLimiter.check_and_track(limiter, "u", :burst)
        sums = sums(limiter, :burst, sums, %{checks: round})

        for {RateLimiter.Instance.Reporter, pid, _, _} when is_pid(pid) <-
              Supervisor.which_children(supervisor),
            do: Process.exit(pid, :kill)

        sums
      end)

    assert %{checks: 20, allowed: 4, denied: 16} = sums(limiter, :burst, sums, %{checks: 20})
  end

  test "a limiter that was removed and added again counts from zero", context do
    %{name: name, limiter: limiter} = context

    for _ <- 1..3 do
      :ok = RateLimiter.add_limiter(limiter, [windows: @windows], name)
      for _ <- 1..5, do: RateLimiter.check_and_track(limiter, "u", :burst)
      assert %{allowed: 4, denied: 1} = sums(limiter, :burst, %{}, %{checks: 5})
      :ok = RateLimiter.remove_limiter(limiter)
      flush(name, limiter)
    end
  end

  # The event of a limiter that was added last comes after all events of those that were removed before.
  defp flush(name, removed) do
    marker = :"#{removed}_marker_#{System.unique_integer([:positive])}"
    :ok = RateLimiter.add_limiter(marker, [windows: @windows], name)
    assert_receive {:event, @stats, _counts, %{limiter: ^marker}}, 30_000
    assert_receive {:event, @memory, _sizes, %{limiter: ^marker}}, 30_000
    :ok = RateLimiter.remove_limiter(marker)
    drop(removed)
  end

  defp drop(limiter) do
    receive do
      {:event, _event, _counts, %{limiter: ^limiter}} -> drop(limiter)
    after
      0 -> :ok
    end
  end

  test "the size of a limiter is an event of its own", %{name: name, limiter: limiter} do
    :ok = RateLimiter.add_limiter(limiter, [windows: @windows, max_keys: 2], name)
    for id <- 1..5, do: RateLimiter.check_and_track(limiter, id, :burst)
    assert {%{keys: 2, request_ids: 0, bytes: bytes}, metadata} = memory(limiter, 2)
    assert bytes > 0
    assert metadata == %{instance: name, store: :local, limiter: limiter}
  end

  defp memory(limiter, keys) do
    assert_receive {:event, @memory, %{keys: ^keys} = sizes, %{limiter: ^limiter} = metadata},
                   30_000

    {sizes, metadata}
  end
end
