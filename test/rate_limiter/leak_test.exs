defmodule RateLimiter.LeakTest do
  # Memory leaks. Not async, because the memory of the whole node is measured.
  use ExUnit.Case, async: false

  import RateLimiter.Support.Eventually

  @limiters [
    leak: [
      windows: [
        a: [limit: 10, per: :second],
        b: [algorithm: :sliding_window, limit: 10, per: :minute],
        c: [algorithm: :sliding_log, limit: 10, per: :minute],
        d: [algorithm: :fixed_window, limit: 10, per: :minute]
      ]
    ]
  ]

  @megabyte 1_048_576

  # Captured log messages of so many exits would count as memory.
  setup do
    level = Logger.level()
    Logger.configure(level: :none)
    on_exit(fn -> Logger.configure(level: level) end)
  end

  defp live(end_of_life) do
    {:ok, supervisor} = RateLimiter.start_link(name: :leak, limiters: @limiters)
    RateLimiter.check_batch(:leak, for(n <- 1..200, do: {n, 1}))
    :ok = RateLimiter.add_limiter(:leak_added, [windows: [w: [limit: 1, per: :day]]], :leak)
    {:ok, _} = RateLimiter.check_and_track(:leak_added, "u", :w)
    end_of_life.(supervisor)
  end

  defp kill(supervisor) do
    Process.flag(:trap_exit, true)
    Process.exit(supervisor, :kill)
    assert_receive {:EXIT, ^supervisor, :killed}, 30_000
  end

  # The resident memory, on Linux.
  defp resident do
    case File.read("/proc/self/statm") do
      {:ok, pages} ->
        pages |> String.split() |> Enum.at(1) |> String.to_integer() |> Kernel.*(4_096)

      {:error, _} ->
        0
    end
  end

  defp size do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)

    %{
      runtime: :erlang.memory(:total),
      resident: resident(),
      processes: length(Process.list()),
      tables: length(:ets.all()),
      atoms: :erlang.system_info(:atom_count)
    }
  end

  # The first rounds load code and warm allocators; growth after that is a leak. The runtime frees the memory of killed
  # processes a moment later.
  defp assert_no_growth(round) do
    for _ <- 1..200, do: round.()
    before = size()
    for _ <- 1..1_000, do: round.()
    eventually(fn -> grown(before, size()) == [] end, fn -> grown(before, size()) end)
  end

  defp grown(before, later) do
    most = [
      processes: 2,
      tables: 2,
      atoms: 9,
      runtime: @megabyte - 1,
      resident: 8 * @megabyte - 1
    ]

    for {key, most} <- most,
        later[key] - before[key] > most,
        do: {key, before[key], later[key]}
  end

  describe "a thousand times" do
    test "starting and stopping an instance leaks nothing" do
      assert_no_growth(fn -> live(&Supervisor.stop/1) end)
      assert RateLimiter.Core.Native.handle(:leak) == nil
    end

    test "starting and killing an instance leaks nothing" do
      assert_no_growth(fn -> live(&kill/1) end)
    end

    test "starting and stopping the application leaks nothing" do
      assert_no_growth(fn ->
        :ok = Application.stop(:rate_limiter)
        :ok = Application.start(:rate_limiter)
        live(&Supervisor.stop/1)
      end)
    end

    test "adding and removing a limiter leaks nothing" do
      {:ok, supervisor} = RateLimiter.start_link(name: :leak, limiters: [])

      assert_no_growth(fn ->
        :ok = RateLimiter.add_limiter(:leak_added, [windows: [w: [limit: 1, per: :day]]], :leak)
        RateLimiter.check_batch(:leak_added, for(n <- 1..200, do: {n, 1}), :w)
        :ok = RateLimiter.remove_limiter(:leak_added)
      end)

      Supervisor.stop(supervisor)
    end

    test "starting the limiters of a test leaks nothing" do
      assert_no_growth(fn ->
        fn ->
          RateLimiter.Test.start(limiters: @limiters)
          RateLimiter.check_batch(:leak, for(n <- 1..200, do: {n, 1}))
          self()
        end
        |> Task.async()
        |> Task.await(:infinity)
        |> ended()
      end)
    end
  end

  # The instance of a test stops a moment after the test, when it has noticed the exit.
  defp ended(pid) do
    if RateLimiter.Test.Registry.instance(pid), do: ended(pid), else: :ok
  end

  describe "many calls" do
    test "on keys that are used and reset leak nothing" do
      RateLimiter.Test.start(limiters: [leak: [windows: [w: [limit: 10, per: :day]]]])

      assert_no_growth(fn ->
        for n <- 1..50, do: {:ok, _} = RateLimiter.check_and_track(:leak, n, :w)
        for n <- 1..50, do: :ok = RateLimiter.reset(:leak, n)
      end)
    end
  end
end
