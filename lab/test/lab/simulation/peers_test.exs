defmodule Lab.Simulation.PeersTest do
  # The facts that tests and documents of the originals state hold for these versions.
  use ExUnit.Case, async: true

  alias RateLimiter.Adaptive.Histogram
  alias Lab.Simulation.Peers.{Aimd, Aws, Bbr, Envoy, Gradient2, Regulator, Sre, Vegas}

  @setting %{limit: 120.0, deadline_ms: 1_000.0, target_ms: nil, workers: 10, seed: 1}

  describe "AIMD (Netflix concurrency-limits)" do
    @ten %Aimd{limit: 10, least: 1}

    test "adds one on success, and removes a tenth on a drop" do
      assert Aimd.update(@ten, 1.0, 10, false).limit == 11
      assert Aimd.update(@ten, 1.0, 1, true).limit == 9
    end

    test "does not grow if less than half is used; five seconds count as a drop" do
      assert Aimd.update(@ten, 1.0, 4, false).limit == 10
      assert Aimd.update(@ten, 5_001.0, 10, false).limit == 9
    end

    test "begins at 20, within 20 to 200" do
      assert %Aimd{limit: 20, least: 20, most: 200, backoff: 0.9} = Aimd.new(@setting)
      assert Aimd.update(Aimd.new(@setting), 1.0, 20, true).limit == 20
      assert Aimd.update(%Aimd{limit: 200}, 1.0, 200, false).limit == 200
    end
  end

  describe "Vegas (Netflix concurrency-limits)" do
    @ten %Vegas{limit: 10.0, most: 20, alpha: 3, beta: 6}

    defp samples(vegas, samples) do
      Enum.map_reduce(samples, vegas, fn {ms, in_flight}, vegas ->
        vegas = Vegas.update(vegas, ms, in_flight, false)
        {Vegas.level(vegas), vegas}
      end)
      |> elem(0)
    end

    test "grows by beta without a queue" do
      assert samples(@ten, [{10.0, 10}, {10.0, 11}]) == [10, 16]
    end

    test "shrinks if the queue is above beta" do
      assert samples(@ten, [{10.0, 10}, {50.0, 11}]) == [10, 9]
    end

    test "keeps its limit between the thresholds" do
      assert samples(@ten, [{10.0, 10}, {14.0, 14}]) == [10, 10]
    end

    test "takes steps of the logarithm of the limit" do
      large = %Vegas{limit: 10_000.0, most: 20_000}
      assert samples(large, [{10_000.0, 5_000}, {10_000.0, 6_000}]) == [10_000, 10_024]
    end
  end

  describe "Gradient2 (Netflix concurrency-limits)" do
    test "the long average is a plain mean for ten samples, then exponential" do
      {means, {mean, count}} =
        Enum.map_reduce(10..19, {0.0, 0}, fn sample, average ->
          average = Gradient2.average(average, sample * 1.0, 100, 10)
          {elem(average, 0), average}
        end)

      assert means == [10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5, 14.0, 14.5]
      {mean, _} = Gradient2.average({mean, count}, 100.0, 100, 10)
      assert_in_delta mean, 16.2, 0.1
    end

    test "grows by the queue, smoothed, at a steady latency" do
      gradient = Gradient2.update(Gradient2.new(@setting), 100.0, 20)
      # A fifth of a queue of four.
      assert_in_delta gradient.limit, 20.8, 1.0e-9
    end

    test "halves at most, and not if less than half is used" do
      gradient = %Gradient2{limit: 100.0, long_ms: 10.0, long_count: 10}
      assert_in_delta Gradient2.update(gradient, 1_000.0, 100).limit, 80 + 0.2 * 54, 1.0e-9
      assert Gradient2.update(gradient, 1_000.0, 49).limit == 100.0
    end
  end

  describe "Envoy's gradient" do
    test "has the documented defaults" do
      assert %Envoy{limit: 3, least: 3, most: 1_000, buffer: 0.25, requests: 50} =
               Envoy.new(@setting)
    end

    test "measures at the minimum concurrency until it has its requests" do
      envoy = %{Envoy.new(@setting) | limit: 7, least: 7, deferred: 7}

      envoy =
        Enum.reduce(1..49, envoy, fn _, envoy ->
          assert {true, _, _} = Envoy.admit(envoy, 0.0, 6)
          assert {false, _, _} = Envoy.admit(envoy, 0.0, 7)
          answer(envoy, 13.0)
        end)

      assert envoy.measuring
      envoy = answer(envoy, 13.0)
      refute envoy.measuring
      assert_in_delta envoy.base_ms, 13.0, 0.3
    end

    test "grows within the buffer, by at most a doubling and the headroom" do
      envoy = %Envoy{limit: 7, least: 7, base_ms: 5.0, buffer: 0.5}
      assert Envoy.limit(envoy, 6.0) > 7
      assert Envoy.limit(%{envoy | buffer: 0.1}, 4.0) > 7
      # 100 * 2 and its root; 100 / 2 and its root.
      assert Envoy.limit(%{envoy | limit: 100}, 0.1) == 214
      assert Envoy.limit(%{envoy | limit: 100}, 1_000.0) == 57
    end

    test "measures again after five windows at the minimum" do
      envoy = %Envoy{limit: 3, base_ms: 5.0, measuring: false, rand: :rand.seed_s(:exsss, 1)}

      envoy =
        Enum.reduce(1..5, envoy, fn window, envoy ->
          samples = Enum.reduce(1..5, %Histogram{}, fn _, h -> Histogram.record(h, 100_000) end)
          Envoy.tick(%{envoy | samples: samples}, window * 100.0, %{})
        end)

      assert Envoy.tick(envoy, envoy.next_measure, %{}).measuring
    end

    defp answer(envoy, ms) do
      Envoy.finished(envoy, %{now: 100.0, outcome: :ok, duration_ms: ms, tag: 0.0})
    end
  end

  describe "throttling of the SRE book" do
    test "drops nothing while half is accepted, and more with fewer accepts" do
      assert Sre.drop_probability(%Sre{requests: 100, accepts: 50}) == 0.0
      assert_in_delta Sre.drop_probability(%Sre{requests: 100, accepts: 10}), 80 / 101, 1.0e-9
      assert_in_delta Sre.drop_probability(%Sre{requests: 100, accepts: 0}), 100 / 101, 1.0e-9
    end

    test "forgets requests after two minutes" do
      sre = Sre.new(@setting)
      {_, _, sre} = Sre.admit(sre, 0.0, 0)
      {_, _, sre} = Sre.admit(sre, 119_000.0, 0)
      assert sre.requests == 2
      {_, _, sre} = Sre.admit(sre, 121_000.0, 0)
      assert sre.requests == 2
    end
  end

  describe "the cubic of the AWS SDKs" do
    test "has the documented zero point" do
      assert_in_delta Aws.cubic(10).k, 1.9574338205844317, 1.0e-12
    end

    test "stays below the last maximum rate until the zero point, and exceeds it after" do
      cubic = Aws.cubic(10)

      for share <- [1 / 3, 1 / 2, 1 / 1.1],
          do: assert(Aws.success(cubic, cubic.k * share) <= 10.0)

      assert_in_delta Aws.success(cubic, cubic.k), 10.0, 1.0e-9
      for share <- [1.1, 2.0], do: assert(Aws.success(cubic, cubic.k * share) >= 10.0)
    end

    test "continues with beta of the rate when throttled" do
      {cubic, rate} = Aws.throttled(Aws.cubic(10), 8, 1)
      assert_in_delta rate, 5.6, 1.0e-9
      assert {cubic.w_max, cubic.last_fail} == {8, 1}
      assert_in_delta cubic.k, 1.8171205928321397, 1.0e-12

      {cubic, rate} = Aws.throttled(Aws.cubic(10, 0.6), 10, 1)
      assert rate == 6.0
      assert_in_delta Aws.success(cubic, 1), 6.0, 1.0e-9
    end

    test "smooths the measured rate over half seconds" do
      measure = fn times -> Enum.reduce(times, %Aws{}, &Aws.measure(&2, &1 * 1.0)).measured end
      assert_in_delta measure.([1]), 0.8, 1.0e-9
      assert_in_delta measure.(1..20), 1.0, 1.0e-6
      assert measure.([0.1, 0.2, 0.3, 0.4, 0.49]) == 0.0
      assert_in_delta measure.([0.1, 0.2, 0.3, 0.4, 0.49, 0.5]), 12 * 0.8, 1.0e-9
      steady = [1, 1.5, 2, 2.5, 3, 3.5, 4]
      assert measure.(steady) >= 1.99 and measure.(steady) <= 2.0
      assert measure.(steady ++ [14]) >= 0.1 and measure.(steady ++ [14]) <= 2.0
    end

    test "limits nothing before the first throttling" do
      assert {true, nil, %Aws{enabled: false}} = Aws.admit(Aws.new(@setting), 0.0, 1_000)
    end
  end

  describe "BBR of Kratos" do
    # Ten buckets, in each (i + 2) * 100 calls with a mean of i * 10 + 5.5 ms; the tenth is not full yet.
    defp filled do
      Enum.reduce(0..9, %Bbr{buckets: 10}, fn i, bbr ->
        bbr = Bbr.forward(bbr, i * 100.0)
        count = (i + 2) * 100
        %{bbr | current: {count, count * (i * 10 + 5.5)}}
      end)
    end

    test "admits the largest throughput times the smallest latency in flight" do
      bbr = filled()
      assert {bbr.max_pass, bbr.min_rt} == {1_000, 6}
      assert Bbr.max_in_flight(bbr) == 60
    end

    test "counts both as one without samples" do
      assert {1, 1} = {%Bbr{}.max_pass, %Bbr{}.min_rt}
    end

    test "drops while the CPU is busy, and for a second after" do
      bbr = filled()
      assert {true, nil, _} = Bbr.admit(%{bbr | cpu: 0.8}, 950.0, 50)
      assert {false, nil, busy} = Bbr.admit(%{bbr | cpu: 0.8}, 950.0, 80)
      assert {false, nil, cold} = Bbr.admit(%{busy | cpu: 0.7}, 960.0, 80)
      assert {true, nil, _} = Bbr.admit(cold, 2_960.0, 80)
    end
  end

  describe "Regulator's AIMD" do
    test "adds ten, removes a tenth, and halves at the maximum" do
      regulator = Regulator.new(@setting)
      assert Regulator.limit(regulator, 5, 10, false) == 30
      assert Regulator.limit(regulator, 5, 9, false) == 20
      assert Regulator.limit(regulator, 501, 20, false) == 18
      assert Regulator.limit(regulator, 5, 20, true) == 18
      assert Regulator.limit(%{regulator | limit: 190}, 5, 190, false) == 100
      assert Regulator.limit(%{regulator | limit: 5}, 5, 5, true) == 5
    end
  end
end
