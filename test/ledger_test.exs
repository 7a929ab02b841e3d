defmodule RateLimiter.LedgerTest do
  # Real nodes, which need the machine for themselves.
  use ExUnit.Case, async: false

  alias RateLimiter.Support.Ledger
  alias RateLimiter.Support.Ledger.{Curve, Fault}

  describe "the curve" do
    test "of a bucket allows the burst at once, and then the rate" do
      at_once = for _ <- 1..5, do: {0, 0}
      bucket = Curve.bucket(5, 10)
      assert Curve.excess(at_once, bucket) == 0
      assert Curve.excess([{0, 0} | at_once], bucket) == 1
      assert Curve.excess(at_once ++ [{100_000, 100_000}], bucket) == 0
      assert Curve.excess(at_once ++ [{99_999, 99_999}], bucket) == 1
    end

    test "of a sliding window allows no second more than the limit, whenever it begins" do
      early = for _ <- 1..5, do: {700_000, 700_000}
      sliding = Curve.sliding(5)
      assert Curve.excess([{1_700_000, 1_700_000} | early], sliding) == 0
      assert Curve.excess([{1_699_999, 1_699_999} | early], sliding) == 1
    end

    test "of a fixed window allows no second of the calendar more than the limit" do
      early = for _ <- 1..5, do: {700_000, 700_000}
      late = for _ <- 1..5, do: {1_000_000, 1_000_000}
      fixed = Curve.fixed(5)
      assert Curve.excess(early ++ late, fixed) == 0
      assert Curve.excess([{999_999, 999_999} | early], fixed) == 1
      assert Curve.excess([{1_999_999, 1_999_999} | late], fixed) == 1
    end

    test "sees a stretch that is too full after one that was empty" do
      late = for _ <- 1..7, do: {1_000_000, 1_000_000}
      assert Curve.excess([{0, 0} | late], Curve.bucket(5, 10)) == 2
    end

    test "blames nobody for a call that may have been decided earlier" do
      assert Curve.excess([{0, 200_000}, {150_000, 160_000}], Curve.bucket(1, 10)) == 0
      assert Curve.excess([{0, 60_000}, {10_000, 60_000}], Curve.bucket(1, 10)) == 1
      assert Curve.excess([{900_000, 1_100_000}, {1_000_000, 1_100_000}], Curve.fixed(1)) == 0
    end
  end

  @short [calm: 300, fault: 400, settle: 300]
  @faults ["none", "kill -9, restart", "SIGSTOP, SIGCONT", "SCRIPT FLUSH", "replica promoted"]

  @tag :slow
  test "four nodes keep the contract together, whatever happens to their Redis",
    do: assert_kept(Fault.named(@faults))

  @tag :slow
  @tag timeout: 600_000
  test "four nodes keep the contract together also in each other fault",
    do: assert_kept(Enum.reject(Fault.all(), &(&1.name in @faults)))

  defp assert_kept(faults) do
    nodes = Ledger.start_nodes!()

    for fault <- faults do
      line = Ledger.line(fault, nodes, @short)
      what = inspect(line, pretty: true)
      assert line.calls > 100 and line.admitted > 50, what
      # Nobody hangs, nobody gets an exception, and nothing is left in a mailbox.
      assert {line.answered, line.raised, line.leftover} == {line.calls, 0, 0}, what

      # The deadline is 50 ms; a machine that has something else to do may be late, but not by seconds.
      assert line.longest_ms < 10_000, what

      for window <- Ledger.windows(),
          do: assert(line.over[window] <= line.bound[window], "#{window}: #{what}")

      for {kept, {back, most}} <- line.back, do: assert(back <= most, "#{kept}: #{what}")
    end
  end
end
