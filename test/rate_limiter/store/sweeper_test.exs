defmodule RateLimiter.Store.SweeperTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Store.{Mock, Sweeper}

  defmodule Swept do
    def sweep(test, last) do
      send(test, {:swept, last})
      if last == 2, do: raise("busy"), else: (last || 0) + 1
    end
  end

  test "each step continues where the last one ended, and is repeated if it fails" do
    assert Sweeper.step(Swept, self(), nil) == 1
    assert Sweeper.step(Swept, self(), 1) == 2
    assert Sweeper.step(Swept, self(), 2) == 2
  end

  test "a process takes steps, whatever arrives meanwhile" do
    sweeper = start_supervised!(%{id: Sweeper, start: {Sweeper, :start_link, [{Swept, self()}]}})
    send(sweeper, :late)
    send(sweeper, :step)
    assert_receive {:swept, nil}
    send(sweeper, :step)
    assert_receive {:swept, 1}
  end

  test "a store without sweeps has no such process" do
    assert Sweeper.start_link({Mock, nil}) == :ignore
  end
end
