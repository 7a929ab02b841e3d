defmodule RateLimiter.Core.NumbersTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Core.Numbers

  doctest Numbers

  test "span/1 never returns a shorter span than the one given" do
    for ns <- [1, 999_999, 999_000_001, 59_000_000_001, 3_599_000_000_001, 86_399_999_999_999] do
      assert Numbers.span(ns) != Numbers.span(0)
    end

    assert Numbers.span(999_000_001) == "1 s"
    assert Numbers.span(59_000_000_001) == "1 min"
    assert Numbers.span(3_599_000_000_001) == "1 h"
    assert Numbers.span(3_600_000_000_001) == "1 h 1 min"
  end
end
