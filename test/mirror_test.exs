defmodule RateLimiter.MirrorTest do
  use ExUnit.Case, async: true

  # Modules whose contract is that of another one, with the test that covers them.
  @covered %{
    "adaptive.ex" => "adaptive/laws_test.exs",
    "adaptive/decision.ex" => "adaptive/laws_test.exs",
    "adaptive/closed_loop/audit.ex" => "adaptive/closed_loop_test.exs",
    "adaptive/closed_loop/estimates.ex" => "adaptive/closed_loop_test.exs",
    "adaptive/closed_loop/explain.ex" => "adaptive/closed_loop_test.exs",
    "adaptive/closed_loop/reading.ex" => "adaptive/closed_loop_test.exs",
    "adaptive/closed_loop/step.ex" => "adaptive/closed_loop_test.exs",
    "doctor/server.ex" => "doctor_test.exs",
    "http/policy.ex" => "http_test.exs",
    "http/problem.ex" => "http_test.exs",
    "http/serializer.ex" => "http_test.exs",
    "plug/options.ex" => "plug_test.exs",
    "redis.ex" => "redis/credentials_test.exs",
    "replay/verdict.ex" => "replay/report_test.exs",
    "store.ex" => "conformance_test.exs",
    "test/clock.ex" => "test_test.exs",
    "test/instance.ex" => "test_test.exs",
    "vsm/apply.ex" => "vsm/decide_test.exs",
    "vsm/controller.ex" => "vsm/supervisor_test.exs",
    "vsm/explain.ex" => "vsm/decide_test.exs",
    "vsm/gate.ex" => "vsm/run_test.exs",
    "vsm/metrics.ex" => "vsm/decide_test.exs",
    "vsm/observe.ex" => "vsm/decide_test.exs"
  }

  defp tests("lib/" <> path), do: "test/" <> String.replace_suffix(path, ".ex", "_test.exs")

  test "every module has a test file at its own path, or a test that covers it" do
    for path <- Path.wildcard("lib/rate_limiter/**/*.ex") do
      "lib/rate_limiter/" <> name = path
      covering = if test = @covered[name], do: "test/rate_limiter/" <> test, else: tests(path)
      assert File.exists?(covering), "#{path}: expected a test file #{covering}"
    end
  end

  test "no module is listed that has a test file of its own, or is gone" do
    for {name, _test} <- @covered do
      path = "lib/rate_limiter/" <> name
      assert File.exists?(path), "#{path} is gone"
      refute File.exists?(tests(path)), "#{path} has a test file of its own"
    end
  end
end
