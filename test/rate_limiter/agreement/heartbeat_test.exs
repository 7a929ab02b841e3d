defmodule RateLimiter.Agreement.HeartbeatTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Observation
  alias RateLimiter.Agreement
  alias RateLimiter.Agreement.Heartbeat

  test "what is written is read back" do
    :rand.seed(:exsss, 5)

    for _ <- 1..300 do
      heartbeat = heartbeat()
      assert heartbeat |> Heartbeat.write() |> Heartbeat.read() == {:ok, heartbeat}
    end
  end

  test "the strongest 16 sources are sent" do
    pain = for i <- 1..40, into: %{}, do: {"s#{i}", i / 40}
    {:ok, read} = %{heartbeat() | pain: pain} |> Heartbeat.write() |> Heartbeat.read()
    assert read.pain == for(i <- 25..40, into: %{}, do: {"s#{i}", i / 40})
  end

  test "a source of any size is sent, a long one by its text" do
    long = String.duplicate("x", 10_000)
    bytes = Heartbeat.write(%{heartbeat() | pain: %{long => 0.5}, pleasure: %{}})
    assert byte_size(bytes) < 1_000
    {:ok, %{pain: pain}} = Heartbeat.read(bytes)
    assert [{text, 0.5}] = Map.to_list(pain)
    assert String.length(text) <= 80
  end

  test "bytes that no node wrote are an error" do
    good = {1, "n", "g", 1.0, 0, [], []}
    assert {:ok, _} = good |> Agreement.encode() |> Heartbeat.read()

    level = fn level -> [{"", "text", level}] end

    bad =
      for {at, value} <- [
            {0, 2},
            {1, :n},
            {2, nil},
            {3, 1},
            {4, -1},
            {4, 1.0},
            {4, 1_000_000_000_000_000},
            {5, nil},
            {5, level.(1.5)},
            {5, level.(-0.5)},
            {5, level.(1)},
            {6, [:x]},
            {6, level.(2.0)}
          ],
          do: good |> put_elem(at, value) |> Agreement.encode()

    for bytes <- ["", "x", Agreement.encode({1}) | bad],
        do: assert({bytes, Heartbeat.read(bytes)} == {bytes, :error})
  end

  test "of several nodes, calls in flight are summed, and each source has its strongest level" do
    :rand.seed(:exsss, 6)

    for _ <- 1..100 do
      heartbeats = for _ <- 1..:rand.uniform(4), do: heartbeat()
      complete = Heartbeat.complete(%Observation{}, heartbeats)
      assert complete.in_flight == heartbeats |> Enum.map(& &1.in_flight) |> Enum.sum()

      for kind <- [:pain, :pleasure] do
        all = Enum.flat_map(heartbeats, &Map.to_list(Map.fetch!(&1, kind)))
        levels = Map.fetch!(complete, kind)

        assert Enum.sort(Map.keys(levels)) ==
                 all |> Enum.map(&elem(&1, 0)) |> Enum.uniq() |> Enum.sort()

        for {source, level} <- all, do: assert(levels[source] >= level)
        for {source, level} <- levels, do: assert({source, level} in all)
      end
    end
  end

  defp heartbeat do
    %Heartbeat{
      node: "node#{:rand.uniform(9)}",
      group: "group",
      scale: :rand.uniform(),
      in_flight: :rand.uniform(1_000) - 1,
      pain: levels(),
      pleasure: levels()
    }
  end

  defp levels do
    for _ <- 1..:rand.uniform(5), into: %{} do
      {Enum.random([:db, "text", {:a, 1}, 7, nil, ["list"]]), :rand.uniform()}
    end
  end
end
