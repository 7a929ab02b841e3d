defmodule RateLimiter.Core.LimitTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Core.Limit

  defp limit(options), do: Limit.new!(options, [:w])

  describe "new!/2" do
    test "returns the options of the algorithm with their defaults, and no others" do
      assert limit(limit: 5, per: :second) == %Limit{
               algorithm: :token_bucket,
               limit: 5,
               per: :second
             }

      assert limit(algorithm: :sliding_window, limit: 5, per: :second) == %Limit{
               algorithm: :sliding_window,
               limit: 5,
               per: :second,
               sub_windows: 10
             }

      assert limit(algorithm: :fixed_window, limit: 5, per: :second) == %Limit{
               algorithm: :fixed_window,
               limit: 5,
               per: :second,
               aligned: true
             }

      assert limit(algorithm: :sliding_log, limit: 5, per: :second) == %Limit{
               algorithm: :sliding_log,
               limit: 5,
               per: :second
             }
    end
  end

  describe "change!/3" do
    test "changes the given options" do
      bucket = limit(limit: 5, per: :second, burst: 9)
      assert %Limit{limit: 6, per: :second, burst: 9} = Limit.change!(bucket, [limit: 6], [:w])

      assert %Limit{limit: 5, per: {2, :hour}, burst: 1} =
               Limit.change!(bucket, [per: {2, :hour}, burst: 1], [:w])
    end

    test "rejects empty changes, unchangeable options and options of another algorithm" do
      fixed = limit(algorithm: :fixed_window, limit: 5, per: :second)
      log = limit(algorithm: :sliding_log, limit: 5, per: :second)

      for {limit, changes, message} <- [
            {fixed, [], "w: expected at least one of :limit, :per, :burst and :enforce"},
            {fixed, [aligned: false],
             "w: unknown option :aligned, known options are :limit, :per, :burst and :enforce"},
            {fixed, [algorithm: :gcra],
             "w: unknown option :algorithm, known options are :limit, :per, :burst and :enforce"},
            {fixed, [burst: 5],
             "w.burst: applies to :token_bucket only, but the algorithm is :fixed_window"},
            {fixed, [limit: 0], "w.limit: expected a positive integer, got: 0"},
            {log, [limit: 10_001],
             "w.limit: expected at most 10000 for this algorithm, got: 10001"}
          ] do
        assert_raise ArgumentError, message, fn -> Limit.change!(limit, changes, [:w]) end
      end
    end
  end

  describe "filled!/3" do
    test "returns the burst and the sub-windows that the core takes for a limit" do
      for {options, burst, sub_windows} <- [
            {[], 5, nil},
            {[burst: 9], 9, nil},
            {[algorithm: :sliding_window], nil, 10},
            {[algorithm: :sliding_window, sub_windows: 3], nil, 3},
            {[algorithm: :sliding_log], nil, nil},
            {[algorithm: :fixed_window], nil, nil}
          ] do
        filled = [limit: 5, per: :second] |> Keyword.merge(options) |> limit() |> Limit.filled!()
        assert {filled.burst, filled.sub_windows} == {burst, sub_windows}
      end
    end

    test "raises for a limit that the store cannot keep" do
      fine =
        limit(algorithm: :sliding_window, limit: 100, per: {1, :millisecond}, sub_windows: 120)

      assert %Limit{} = Limit.filled!(fine, [:w], :local)

      assert_raise ArgumentError, ~r/\Aw\.\w+: /, fn -> Limit.filled!(fine, [:w], :redis) end
    end

    test "has the default that the documentation names" do
      default = limit(algorithm: :sliding_window, limit: 5, per: :second).sub_windows
      assert Limit.schema()[:sub_windows][:doc] =~ "Default: #{default}."
    end
  end

  describe "to_native/1" do
    test "returns the native tuple, the same one for all names of the token bucket" do
      for name <- [:token_bucket, :gcra, :leaky_bucket] do
        assert Limit.to_native({:w, limit(algorithm: name, limit: 5, per: {2, :minute})}) ==
                 {:w, :token_bucket, 5, 120_000_000_000, nil, nil, {false, true}}
      end

      assert Limit.to_native(
               {:w,
                limit(
                  algorithm: :sliding_window,
                  limit: 5,
                  per: {10, :millisecond},
                  sub_windows: 3
                )}
             ) ==
               {:w, :sliding_window, 5, 10_000_000, nil, 3, {false, true}}

      assert Limit.to_native({:w, limit(algorithm: :fixed_window, limit: 5, per: :day)}) ==
               {:w, :fixed_window, 5, 86_400_000_000_000, nil, nil, {true, true}}
    end
  end

  describe "nanoseconds/1" do
    test "converts every unit, with and without a number" do
      for {unit, ns} <- [
            millisecond: 1_000_000,
            second: 1_000_000_000,
            minute: 60_000_000_000,
            hour: 3_600_000_000_000,
            day: 86_400_000_000_000
          ] do
        assert Limit.nanoseconds(unit) == ns
        assert Limit.nanoseconds({7, unit}) == 7 * ns
      end
    end
  end
end
