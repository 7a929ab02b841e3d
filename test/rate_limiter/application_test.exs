defmodule RateLimiter.ApplicationTest do
  # Not async: the application belongs to the whole node.
  use ExUnit.Case, async: false

  import RateLimiter.Support.{Eventually, Processes}

  setup :restart_application

  test "the application starts one supervisor, which starts the supervisor of tests' limiters" do
    supervisor = Process.whereis(RateLimiter.Supervisor)

    assert [{_id, tests, :supervisor, [DynamicSupervisor]}] =
             Supervisor.which_children(supervisor)

    assert tests == Process.whereis(RateLimiter.Test.Supervisor)
  end

  test "the names of running limiters survive the end of every process of the application" do
    start_supervised!(
      {RateLimiter,
       name: :application_test,
       limiters: [application_test: [windows: [a: [limit: 3, per: {30, :day}]]]]}
    )

    {:ok, _usage} = RateLimiter.check_and_track(:application_test, "ann")
    before = Process.whereis(RateLimiter.Test.Supervisor)
    Process.exit(before, :kill)
    eventually(fn -> Process.whereis(RateLimiter.Test.Supervisor) not in [nil, before] end)

    assert {:ok, %{remaining: 1}} = RateLimiter.check_and_track(:application_test, "ann")
  end
end
