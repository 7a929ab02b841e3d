defmodule RateLimiter.Instance.RegistryTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Instance
  alias RateLimiter.Instance.Registry

  defp names, do: Enum.map(Registry.instances(), & &1.name)

  describe "instance/1" do
    test "returns an instance while it runs" do
      name = {:registry, make_ref()}
      assert Registry.instance(name) == nil
      start_supervised!({RateLimiter, name: name})
      assert %Instance{name: ^name, ready?: true} = Registry.instance(name)
      stop_supervised!(name)
      assert Registry.instance(name) == nil
    end

    test "returns an instance only when it is ready, instances/0 also before" do
      name = {:registry, make_ref()}
      :ok = Instance.Names.register({:instance, name}, self(), nil)
      assert Registry.instance(name) == nil
      refute name in names()
      :ok = Registry.publish(Instance.new(name: name))
      assert Registry.instance(name) == nil
      assert name in names()
      :ok = Registry.publish(Instance.new(name: name, ready?: true))
      assert %Instance{name: ^name} = Registry.instance(name)
    end
  end

  describe "whereis/1" do
    test "returns the process of a key, or nil" do
      name = {:registry, make_ref()}
      assert Registry.whereis({:instance, name}) == nil
      pid = start_supervised!({RateLimiter, name: name})
      assert Registry.whereis({:instance, name}) == pid
    end
  end
end
