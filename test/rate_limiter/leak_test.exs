defmodule RateLimiter.LeakTest do
  # Memory leaks. Not async, because the memory of the whole node is measured.
  use ExUnit.Case, async: false

  import RateLimiter.Support.{Growth, Processes}

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

  @moduletag :slow

  setup :silence

  defp live(end_of_life) do
    {:ok, supervisor} = RateLimiter.start_link(name: :leak, limiters: @limiters)
    RateLimiter.check_batch(:leak, for(n <- 1..200, do: {n, 1}))
    :ok = RateLimiter.add_limiter(:leak_added, [windows: [w: [limit: 1, per: :day]]], :leak)
    {:ok, _} = RateLimiter.check_and_track(:leak_added, "u", :w)
    end_of_life.(supervisor)
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

    test "adding several limiters at once, and removing them, takes the places of the ones before" do
      {:ok, supervisor} = RateLimiter.start_link(name: :leak, limiters: [])
      names = for number <- 1..10, do: :"leak_added_#{number}"

      assert_no_growth(200, fn ->
        for name <- names,
            do: :ok = RateLimiter.add_limiter(name, [windows: [w: [limit: 1, per: :day]]], :leak)

        for name <- names, do: :ok = RateLimiter.remove_limiter(name)
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
