defmodule RateLimiter.Test.RegistryTest do
  use ExUnit.Case, async: true

  alias RateLimiter.{Instance, Test}

  @limiter [windows: [w: [limit: 1, per: :second]]]

  describe "instance/0" do
    test "returns the instance of the nearest of this process, its callers and its ancestors" do
      assert Test.Registry.instance() == nil
      assert Test.Registry.limiter(:near) == nil
      Test.start(limiters: [near: @limiter])
      mine = Test.Registry.instance()
      assert mine.table == Test.Registry.instance(self()).table
      assert Test.Registry.limiter(:near) == elem(Instance.fetch(mine, :near), 0)
      assert Test.Registry.limiter(:far) == nil

      Task.await(
        Task.async(fn ->
          assert Test.Registry.instance().table == mine.table
          Test.start(limiters: [])
          assert Test.Registry.instance().table != mine.table
        end),
        :infinity
      )

      assert Instance.Registry.holder!(:near).table == mine.table
    end
  end
end
