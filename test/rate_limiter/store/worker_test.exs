defmodule RateLimiter.Store.WorkerTest do
  use ExUnit.Case, async: true

  import RateLimiter.Support.Eventually

  alias RateLimiter.Store.{Client, Mock, Worker}

  setup context do
    mock = :"mock #{context.test}"

    instance =
      start_supervised!(
        {RateLimiter,
         name: {:worker, context.test},
         log: false,
         store: {Mock, name: mock, nodes: 1, workers: 1, timeout: 50},
         limiters: [{context.test, windows: [w: [limit: 100, per: {30, :day}]]}]}
      )

    eventually(fn -> RateLimiter.health_check({:worker, context.test}) == :ok end)
    {:ok, name: context.test, mock: mock, worker: worker(instance)}
  end

  defp worker(instance) do
    [pool] =
      for {RateLimiter.Store.Pool, pid, _, _} <- Supervisor.which_children(instance), do: pid

    [worker] = for {{Worker, 0}, pid, _, _} <- Supervisor.which_children(pool), do: pid
    worker
  end

  defp store?(name),
    do: match?({:ok, %{source: :store}}, RateLimiter.check_and_track(name, "u", :w))

  test "a process that hangs is killed, and the worker continues",
       %{name: name, mock: mock} = context do
    Mock.set(mock, :hang)
    refute store?(name)
    Mock.set(mock, :ok)
    eventually(fn -> store?(name) end)
    assert Process.alive?(context.worker)
  end

  test "a worker that is killed is replaced", %{name: name, worker: worker} do
    eventually(fn -> store?(name) end)
    monitor = Process.monitor(worker)
    Process.exit(worker, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^worker, :killed}
    eventually(fn -> store?(name) end)
  end

  test "a message that is not for it changes nothing", %{name: name, worker: worker} do
    send(worker, :unexpected)
    eventually(fn -> store?(name) end)
    assert Process.alive?(worker)
  end

  test "child_spec/1 tells workers of one store apart" do
    worker = %Worker{store: 1, number: 3, module: Mock, state: nil, timeout: 50}
    assert %{id: {Worker, 3}} = Worker.child_spec(worker)
    assert Client.status(1) == nil
  end
end
