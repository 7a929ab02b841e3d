defmodule RateLimiter.UsageTest do
  use ExUnit.Case, async: true

  alias RateLimiter.{Store, Test, Usage}
  alias RateLimiter.Core.Native

  setup do
    Test.start(
      limiters: [scaled: [windows: [w: [limit: 100, per: :second], v: [limit: 40, per: :hour]]]]
    )

    %{handle: Test.Registry.limiter(:scaled)}
  end

  describe "an answer's usage" do
    test "has the scale that is on the limit, and what the window holds under it", %{
      handle: handle
    } do
      assert {:ok, %Usage{scale: 1.0, max: 100}} = RateLimiter.get_usage(:scaled, "u", :w)
      :ok = Native.set_scale(handle, 250_000)

      assert {:ok, %Usage{scale: 0.25, max: 25, current: 0}} =
               RateLimiter.get_usage(:scaled, "u", :w)

      assert {:ok, usage} = RateLimiter.check_and_track(:scaled, "u")
      assert %Usage{scale: 0.25, window: :v, max: 10} = usage
      assert usage.windows.w.scale == 0.25
      assert %{scale: 0.25, maxima: %{w: 25, v: 10}} = Store.plan(handle)

      assert %{scale: 0.25, windows: [w: %{limit: 100, max: 25}, v: %{limit: 40, max: 10}]} =
               RateLimiter.limiters()[:scaled]
    end

    test "says :infinity of a cost that this scale does not hold", %{handle: handle} do
      :ok = Native.set_scale(handle, 500_000)

      assert {:error, :rate_limited, %Usage{retry_after_ms: :infinity, max: 50}} =
               RateLimiter.check_and_track(:scaled, "u", :w, cost: 51)

      assert {:ok, _} = RateLimiter.check_and_track(:scaled, "u", :w, cost: 50)
    end
  end

  describe "%Usage{}" do
    test "names its window and its numbers, or is not made" do
      assert_raise ArgumentError, ~r/must also be given/, fn -> struct!(Usage, []) end
    end
  end
end
