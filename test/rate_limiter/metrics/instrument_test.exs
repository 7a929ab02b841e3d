defmodule RateLimiter.Metrics.InstrumentTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Metrics.{Families, Instrument}

  # As the OpenTelemetry specification translates for Prometheus: the unit, then the mark of a counter.
  @suffixes %{By: "_bytes", s: "_seconds", "1": "_ratio"}

  test "an exporter to Prometheus gives each instrument the name of its metric again" do
    for {metric, {type, help} = about} <- Families.all() do
      {name, options} = Instrument.of(metric, about)
      assert options.description == help
      unit = Map.get(@suffixes, options[:unit], "")
      total = if type == :counter, do: "_total", else: ""
      assert String.replace("#{name}", ".", "_") <> unit <> total == "#{metric}"
    end
  end

  test "the bounds of a histogram are in its unit, and rise" do
    about = {:histogram, "How long."}
    {_name, options} = Instrument.of(:rate_limiter_store_duration_seconds, about)
    assert options.unit == :s
    assert options.advisory_params.explicit_bucket_boundaries == Instrument.buckets()
    assert Instrument.buckets() == Enum.sort(Instrument.buckets())
    assert Enum.all?(Instrument.buckets(), &(&1 > 0 and &1 < 1))
  end
end
