defmodule RateLimiter.Replay.EngineTest do
  # The native boundary: invalid terms and numbers raise, and the node survives.
  use ExUnit.Case, async: true

  alias RateLimiter.Core.Native

  @window {:limit, :token_bucket, 1, 60_000_000_000, 1, nil, {false, true}}
  @schema {:auto, ["time"], nil, [{:ip, ["ip"]}], nil, [{:path, ["path"]}]}

  test "an invalid term raises ArgumentError" do
    for {windows, schema} <- [
          {[:window], @schema},
          {[put_elem(@window, 1, :no_algorithm)], @schema},
          {[put_elem(@window, 2, -1)], @schema},
          {[@window], :schema},
          {[@window], put_elem(@schema, 0, :csv)},
          {[@window], put_elem(@schema, 2, :fortnight)},
          {[@window], put_elem(@schema, 3, [{:shoe_size, []}])},
          {[@window], put_elem(@schema, 5, [{:shoe_size, []}])}
        ] do
      assert_raise ArgumentError, fn -> Native.replay_new(windows, schema, 0, true) end
    end

    assert_raise ArgumentError, fn -> Native.replay_feed(make_ref(), 0, "") end
    {:ok, replay} = Native.replay_new([@window], @schema, 0, true)
    assert_raise ArgumentError, fn -> Native.replay_feed(replay, 0, :bytes) end
  end

  test "an unknown log or limit raises, and the replay continues" do
    {:ok, replay} = Native.replay_new([@window], @schema, 0, true)
    log = Native.replay_open(replay)

    assert_raise ArgumentError, fn ->
      Native.replay_feed(replay, log + 1, "")
    end

    assert_raise ArgumentError, fn ->
      Native.replay_outcome(replay, 1, 0)
    end

    line = ~s({"time":1500000000,"ip":"a"}\n)
    assert {1, 1_500_000_000_000_000_000, 0} = Native.replay_feed(replay, log, line)
    :ok = Native.replay_close(replay, log)
    assert %{admitted: 1} = Native.replay_outcome(replay, 0, 0)
  end

  test "an invalid limit and too many names return an error" do
    high = put_elem(@window, 2, 9_000_000_000_000_000_000)
    assert {:error, {1, "limit: " <> _}} = Native.replay_new([@window, high], @schema, 0, true)
    names = for number <- 1..128, do: "n#{number}"
    schema = put_elem(@schema, 1, names)

    assert {:error, {nil, "expected at most 128 field names in all"}} =
             Native.replay_new([@window], schema, 0, true)
  end
end
