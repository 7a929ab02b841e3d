defmodule RateLimiter.Metrics.FamiliesTest do
  use ExUnit.Case, async: true

  alias RateLimiter.{Metrics, VSM}
  alias RateLimiter.Support.Exposition

  @windows [burst: [limit: 3, per: :day], slow: [limit: 9, per: :day]]

  setup context do
    name = {__MODULE__, context.test}
    limiter = :"metrics #{context.test}"
    limiters = [{limiter, windows: @windows, threshold: 0.8}]
    start_supervised!({RateLimiter, name: name, limiters: limiters, vsm: true})
    [name: name, limiter: limiter]
  end

  defp read(name), do: name |> Metrics.prometheus() |> Exposition.parse!()

  defp value(series, name, labels) do
    labels = Map.new(labels, fn {key, value} -> {"#{key}", "#{value}"} end)

    [value] =
      for {{^name, own}, value} <- series, Map.take(own, Map.keys(labels)) == labels, do: value

    value
  end

  test "counts calls by limiter, window, source and result", %{name: name, limiter: limiter} do
    for _ <- 1..5, do: RateLimiter.check_and_track(limiter, "u", :burst)
    {:ok, _} = RateLimiter.check_and_track(limiter, "v")
    series = read(name)
    burst = [limiter: limiter, window: :burst, source: :local]
    assert value(series, "rate_limiter_checks_total", [result: :allowed] ++ burst) == 4
    assert value(series, "rate_limiter_checks_total", [result: :denied] ++ burst) == 2
    assert value(series, "rate_limiter_violations_total", burst) == 2
    assert value(series, "rate_limiter_near_limit_total", limiter: limiter, window: :burst) == 1
    assert value(series, "rate_limiter_limit", limiter: limiter, window: :slow) == 9
    assert value(series, "rate_limiter_keys", limiter: limiter) == 2
    assert value(series, "rate_limiter_memory_bytes", limiter: limiter) > 0
    assert value(series, "rate_limiter_healthy", []) == 1
    assert value(series, "rate_limiter_build_info", store: "local") == 1
  end

  test "has the subsystems, and their adaptations", %{name: name} do
    {:ok, _} = VSM.check_subsystem_limit(:s1, "u", instance: name)
    # More than the limit, however slow this is.
    {:error, :rate_limited, _} = VSM.check_subsystem_limit(:s1, "u", cost: 9_999, instance: name)
    {:ok, table} = Map.fetch(RateLimiter.Instance.Registry.fetch!(name), :subsystems)
    VSM.Explain.add(table, :s1, %{action: :cut, from: 1.0, to: 0.5, sentence: "Cut."})
    VSM.Explain.add(table, nil, %{action: :hold, from: 1.0, to: 1.0, sentence: "Held."})
    series = read(name)
    checks = "rate_limiter_subsystem_checks_total"
    allowed = value(series, checks, subsystem: :s1, result: :allowed)
    denied = value(series, checks, subsystem: :s1, window: :rate, result: :denied)
    assert {allowed, denied} == {1, 1}
    assert value(series, "rate_limiter_scale_ratio", subsystem: :s5) == 1.0
    adaptations = "rate_limiter_adaptations_total"
    assert value(series, adaptations, subsystem: :s1, action: :cut) >= 1
    assert value(series, adaptations, subsystem: "", action: :hold) >= 1
  end

  test "has as many series for a thousand ids as for one, and reveals none", context do
    %{name: name, limiter: limiter} = context
    RateLimiter.check_and_track(limiter, "secret-id-0", :burst)
    before = read(name)

    for id <- 1..1_000,
        _ <- 1..4,
        do: RateLimiter.check_and_track(limiter, "secret-id-#{id}", :burst)

    text = IO.iodata_to_binary(Metrics.prometheus(name))
    refute text =~ "secret"
    # Subsystems may adapt meanwhile, which has series of its own.
    own = fn series ->
      for {{name, labels}, _} <- series, not (name =~ "adaptations"), do: {name, labels}
    end

    assert text |> Exposition.parse!() |> own.() |> Enum.sort() == Enum.sort(own.(before))
  end

  test "escapes names of any kind", %{name: name} do
    for hostile <- [:"a\"b", :"a\\b", :"a\nb", :"a,b=\"c\"} 1", :名前, :""] do
      :ok = RateLimiter.add_limiter(hostile, [windows: [{hostile, limit: 1, per: :day}]], name)
      labels = [limiter: hostile, window: hostile, result: :allowed]
      assert value(read(name), "rate_limiter_checks_total", labels) == 0
      :ok = RateLimiter.remove_limiter(hostile)
    end
  end

  test "has each documented metric of a local store, and no other", %{name: name} do
    names = for {{metric, _labels}, _value} <- read(name), uniq: true, do: metric
    {:docs_v1, _, _, _, %{"en" => documented}, _, _} = Code.fetch_docs(Metrics)
    assert names -- names(documented) == []

    [local, _redis, subsystems] = String.split(documented, ["With Redis:", "With subsystems:"])
    # Without a step of a law there is no stress, and without an entry no adaptation.
    late = ["rate_limiter_stress_ratio", "rate_limiter_adaptations_total"]
    assert (names(local) ++ names(subsystems)) -- (names ++ late) == []
  end

  defp names(text), do: ~r/`(rate_limiter_[a-z_]+)`/ |> Regex.scan(text) |> Enum.map(&List.last/1)
end
