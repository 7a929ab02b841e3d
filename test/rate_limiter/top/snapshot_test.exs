defmodule RateLimiter.Top.SnapshotTest do
  # Not async: a snapshot reads the whole node.
  use ExUnit.Case, async: false

  alias RateLimiter.{Instance, VSM}
  alias RateLimiter.Top.Snapshot

  setup do: RateLimiter.Support.Shown.start()

  defp shown do
    [instance] = Enum.filter(Snapshot.take().instances, &(&1.name == ":top_shown"))
    instance
  end

  test "an instance that stops during the reading is left out" do
    gone = :ets.new(:gone, [])
    :ets.delete(gone)
    limiters = Instance.new(name: :top_gone, subsystems: gone, ready?: true)
    :ok = Instance.Names.register({:instance, :top_gone}, self(), limiters)

    names = for %{name: name} <- Snapshot.take().instances, do: name
    assert ":top_shown" in names
    refute ":top_gone" in names
  end

  test "a snapshot is plain data, which another node can read without this code" do
    terms = Snapshot.take()
    assert terms == terms |> :erlang.term_to_binary() |> :erlang.binary_to_term()
    refute inspect(terms, limit: :infinity, structs: false) =~ ~r/#(PID|Reference|Function)</
  end

  test "each limiter has its counts and its windows with their limits" do
    for _ <- 1..5, do: RateLimiter.check_and_track(:top_shown, "a", :burst)
    [limiter] = shown().limiters
    assert %{name: :top_shown, checks: 5, denials: 2, keys: 1} = limiter

    assert for(window <- limiter.windows, do: {window.name, window.limit}) == [
             burst: "3/d",
             slow: "1000/d"
           ]
  end

  test "each subsystem has its counts, scale and gate" do
    for _ <- 1..12, do: VSM.check_subsystem_limit(:work, "a", instance: :top_shown)
    work = Enum.find(shown().subsystems, &(&1.name == :work))
    assert %{asked: 12, denied: 2, shed: 0, dry_run: false, limit: "10/min"} = work
    assert work.scale == 1.0 and work.open == 1.0
    assert Enum.find(shown().subsystems, &(&1.name == :dry)).dry_run
  end
end
