defmodule RateLimiter.Store.PoolTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Store.{Events, Mock, Pool, Worker}

  test "a store has as many workers as its option says, and ends with its instance" do
    mock = :"mock of the pool"

    instance =
      start_supervised!(
        {RateLimiter, name: __MODULE__, store: {Mock, name: mock, nodes: 1, workers: 3}}
      )

    [pool] = for {Pool, pid, :supervisor, _} <- Supervisor.which_children(instance), do: pid
    # This store needs no sweeps.
    children = for {id, pid, _, _} <- Supervisor.which_children(pool), is_pid(pid), do: id
    assert Enum.sort(children) == Enum.sort([Events, {Worker, 0}, {Worker, 1}, {Worker, 2}])
    eventually(fn -> RateLimiter.stats(__MODULE__).client.workers == 3 end)

    stop_supervised!(RateLimiter.child_spec(name: __MODULE__).id)
    refute Process.alive?(pool)
    assert :ets.info(mock) == :undefined
  end
end
