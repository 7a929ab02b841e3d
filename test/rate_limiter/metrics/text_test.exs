defmodule RateLimiter.Metrics.TextTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Metrics.Text
  alias RateLimiter.Support.Exposition

  defp text(families), do: families |> Text.encode() |> IO.iodata_to_binary()

  test "a family has its help, its type and its samples" do
    assert text([{:a_total, :counter, "Calls.", [{[x: "1"], 3}, {[x: "2"], 4}]}]) ==
             "# HELP a_total Calls.\n# TYPE a_total counter\n" <>
               "a_total{x=\"1\"} 3\na_total{x=\"2\"} 4\n"
  end

  test "families of one name are one, and those without samples are left out" do
    families = [
      {:b, :gauge, "Size.", [{[x: "1"], 0.5}]},
      {:a, :gauge, "None.", []},
      {:b, :gauge, "Size.", [{[x: "2"], 1}]}
    ]

    assert text(families) == "# HELP b Size.\n# TYPE b gauge\nb{x=\"1\"} 0.5\nb{x=\"2\"} 1\n"
  end

  test "the buckets of a histogram are cumulative, with bounds in seconds that never change their form" do
    histogram = %{
      sum_us: 1_700_123,
      buckets: [{100, 2}, {250, 0}, {1_000_000, 3}, {:infinity, 1}]
    }

    text = text([{:d_seconds, :histogram, "Time.", [{[s: "r"], histogram}]}])

    assert text =~ """
           d_seconds_bucket{s="r",le="0.0001"} 2
           d_seconds_bucket{s="r",le="0.00025"} 2
           d_seconds_bucket{s="r",le="1.0"} 5
           d_seconds_bucket{s="r",le="+Inf"} 6
           d_seconds_sum{s="r"} 1.700123
           d_seconds_count{s="r"} 6
           """

    assert %{{"d_seconds_count", %{"s" => "r"}} => 6.0} = Exposition.parse!(text)
  end

  test "values of labels are escaped, whatever they are" do
    for value <- ["", "\"", "\\", "\n", "\\n", "a\\\"b\n", "ü 名", <<255, 0>>, "} 1\n# HELP"] do
      series = Exposition.parse!(Text.encode([{:a, :gauge, "A.", [{[x: value], 1}]}]))
      shown = if String.valid?(value), do: value, else: inspect(value)
      assert series == %{{"a", %{"x" => shown}} => 1.0}
    end
  end
end
