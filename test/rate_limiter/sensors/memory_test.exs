defmodule RateLimiter.Sensors.MemoryTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Sensors.Memory

  test "a reading is the share of the limit, and keeps the limit" do
    limit = 1_000_000 * :erlang.memory(:total)
    assert Memory.init(limit: limit) == limit
    assert {:ok, share, ^limit} = Memory.measure(limit)
    assert share > 0 and share < 1.0e-4
    assert {:ok, share, 1} = Memory.measure(1)
    assert share > 1
  end

  test "the limit of this system is above what the runtime uses, or unknown" do
    limit = Memory.init([])
    assert limit == nil or (is_integer(limit) and limit > 0)
  end

  test "without a limit there is no opinion, and the option is named" do
    assert {:no_opinion, reason, nil} = Memory.measure(nil)
    assert reason =~ ":limit"
  end
end
