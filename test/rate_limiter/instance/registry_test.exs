defmodule RateLimiter.RegistryTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry

  defp names(limiters), do: Enum.map(limiters, & &1.instance)

  describe "instance/1" do
    test "finds an instance while it runs" do
      name = {:registry, make_ref()}
      assert Registry.instance(name) == nil
      start_supervised!({RateLimiter, name: name})
      assert %Instance{instance: ^name, ready?: true} = Registry.instance(name)
      stop_supervised!(name)
      assert Registry.instance(name) == nil
    end

    test "does not find one that is not ready yet, but all/0 does" do
      name = {:registry, make_ref()}
      {:ok, _} = Elixir.Registry.register(Registry, {:instance, name}, nil)
      assert Registry.instance(name) == nil
      refute name in names(Registry.all())
      :ok = Registry.publish({:instance, name}, Instance.new(instance: name))
      assert Registry.instance(name) == nil
      assert name in names(Registry.all())
      :ok = Registry.publish({:instance, name}, Instance.new(instance: name, ready?: true))
      assert %Instance{instance: ^name} = Registry.instance(name)
    end
  end

  describe "whereis/1" do
    test "is the process, or nil" do
      name = {:registry, make_ref()}
      assert Registry.whereis({:instance, name}) == nil
      pid = start_supervised!({RateLimiter, name: name})
      assert Registry.whereis({:instance, name}) == pid
    end
  end

  describe "test/0" do
    test "is the nearest of this process, its callers and its ancestors" do
      assert Registry.test() == nil
      assert Registry.owned(:near) == nil
      RateLimiter.Test.start(limiters: [near: [windows: [w: [limit: 1, per: :second]]]])
      mine = Registry.test()
      assert mine.table == Registry.test_of(self()).table
      assert Registry.owned(:near) == elem(Instance.fetch(mine, :near), 0)
      assert Registry.owned(:far) == nil

      Task.await(
        Task.async(fn ->
          assert Registry.test().table == mine.table
          RateLimiter.Test.start(limiters: [])
          assert Registry.test().table != mine.table
        end),
        :infinity
      )

      assert hd(Registry.all()).table == mine.table
    end
  end
end
