defmodule RateLimiter.Terminal.SvgTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Terminal.{Html, Svg}

  doctest Html
  doctest Svg

  test "rect/6 returns nothing for an empty rectangle, and a tip inside of its element" do
    assert Svg.rect("denied", 1, 2, 0, 4) == []
    rect = Svg.rect("hover", 1, 2, 3.5, 4, Svg.tip("<2>"))

    assert IO.iodata_to_binary(rect) ==
             ~s(<rect class="hover" x="1" y="2" width="3.5" height="4"><title>&lt;2&gt;</title></rect>\n)
  end
end
