defmodule RateLimiter.InstanceTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Instance

  defp instance(rows) do
    instance = Instance.new(name: :shop)
    :ets.insert(instance.table, rows)
    instance
  end

  test "a new instance has no limiters, and is not ready" do
    instance = Instance.new(name: :shop)
    assert %Instance{name: :shop, store: :local, clock: :monotonic, ready?: false} = instance
    assert Instance.all(instance) == []
    assert Instance.names(instance) == []
  end

  test "an unknown field raises" do
    assert_raise KeyError, fn -> Instance.new(name: :shop, limiter: 1) end
  end

  test "limiters are ordered by name, in whatever order they came" do
    :rand.seed(:exsss, 4)

    for _ <- 1..20 do
      names = Enum.shuffle([:api, :login, :mail, :Zebra, :"a b"])
      instance = instance(for name <- names, do: {name, {:handle, name}, :owner, {:config, name}})
      assert Instance.names(instance) == Enum.sort(names)

      for {name, handle, config} <- Instance.all(instance),
          do: assert({handle, config} == {{:handle, name}, {:config, name}})
    end
  end

  test "fetch/2 returns one limiter without its owner, or nil" do
    instance = instance([{:api, :handle, :owner, :config}])
    assert Instance.fetch(instance, :api) == {:handle, :config}
    assert Instance.fetch(instance, :mail) == nil
  end

  test "an instance whose process has exited has no limiters" do
    task = Task.async(fn -> instance([{:api, :handle, :owner, :config}]) end)
    instance = Task.await(task)
    reference = Process.monitor(task.pid)
    assert_receive {:DOWN, ^reference, :process, _pid, _reason}
    assert Instance.all(instance) == []
    assert Instance.fetch(instance, :api) == nil
  end
end
