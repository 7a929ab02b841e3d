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

  describe "from_window/4" do
    test "returns the current scale and the maximum under it", %{
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

    test "returns :infinity for a cost above the scaled maximum", %{handle: handle} do
      :ok = Native.set_scale(handle, 500_000)

      assert {:error, :rate_limited, %Usage{retry_after_ms: :infinity, max: 50}} =
               RateLimiter.check_and_track(:scaled, "u", :w, cost: 51)

      assert {:ok, _} = RateLimiter.check_and_track(:scaled, "u", :w, cost: 50)
    end
  end

  describe "%Usage{}" do
    test "requires the names and the numbers" do
      assert_raise ArgumentError, ~r/must also be given/, fn -> struct!(Usage, []) end
    end
  end
end
