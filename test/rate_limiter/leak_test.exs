defmodule RateLimiter.LeakTest do
  # Not at once with other tests: memory is counted.
  use ExUnit.Case, async: false

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

  # What is logged of so many ends would be captured into the memory that is counted.
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

  # Resident memory, where the system tells it.
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

  # The first rounds load code and warm allocators; what grows after that is a leak. What has just been killed goes in its
  # own time.
  defp assert_no_growth(round) do
    for _ <- 1..200, do: round.()
    before = size()
    for _ <- 1..1_000, do: round.()
    assert eventually(fn -> grown(before, size()) == [] end), inspect(grown(before, size()))
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

  defp eventually(fun, tries \\ 1_000),
    do: fun.() || (tries > 0 && Process.sleep(20) && eventually(fun, tries - 1))

  describe "a thousand lives" do
    test "of an instance that is stopped leave nothing" do
      assert_no_growth(fn -> live(&Supervisor.stop/1) end)
      assert RateLimiter.Core.Native.handle(:leak) == nil
    end

    test "of an instance that is killed leave nothing" do
      assert_no_growth(fn -> live(&kill/1) end)
    end

    test "of the application leave nothing" do
      assert_no_growth(fn ->
        :ok = Application.stop(:rate_limiter)
        :ok = Application.start(:rate_limiter)
        live(&Supervisor.stop/1)
      end)
    end

    test "of a limiter that comes and goes leave nothing" do
      {:ok, supervisor} = RateLimiter.start_link(name: :leak, limiters: [])

      assert_no_growth(fn ->
        :ok = RateLimiter.add_limiter(:leak_added, [windows: [w: [limit: 1, per: :day]]], :leak)
        RateLimiter.check_batch(:leak_added, for(n <- 1..200, do: {n, 1}), :w)
        :ok = RateLimiter.remove_limiter(:leak_added)
      end)

      Supervisor.stop(supervisor)
    end

    test "of a test's own limiters leave nothing" do
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

  # What a test owned ends with it: a moment later, when its instance has seen it.
  defp ended(pid) do
    if RateLimiter.Test.Registry.instance(pid), do: ended(pid), else: :ok
  end

  describe "many calls" do
    test "about keys that come and go leave nothing" do
      RateLimiter.Test.start(limiters: [leak: [windows: [w: [limit: 10, per: :day]]]])

      assert_no_growth(fn ->
        for n <- 1..50, do: {:ok, _} = RateLimiter.check_and_track(:leak, n, :w)
        for n <- 1..50, do: :ok = RateLimiter.reset(:leak, n)
      end)
    end
  end
end
