defmodule RateLimiter.ApplicationTest do
  # Not async: the application belongs to the whole node.
  use ExUnit.Case, async: false

  import RateLimiter.Support.Eventually

  test "the application starts one supervisor, with what all instances of a node share" do
    supervisor = Process.whereis(RateLimiter.Supervisor)

    children = for {_id, pid, _type, _modules} <- Supervisor.which_children(supervisor), do: pid
    named = [RateLimiter.Await.Queue, RateLimiter.Test.Supervisor, RateLimiter.Dashboard.History]
    assert Enum.sort(children) == named |> Enum.map(&Process.whereis/1) |> Enum.sort()
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

  test "many ends of a process in a short time do not end the application" do
    supervisor = Process.whereis(RateLimiter.Supervisor)

    for _ <- 1..20 do
      before = Process.whereis(RateLimiter.Await.Queue)
      Process.exit(before, :kill)
      eventually(fn -> Process.whereis(RateLimiter.Await.Queue) not in [nil, before] end)
    end

    assert Process.whereis(RateLimiter.Supervisor) == supervisor
  end
end
