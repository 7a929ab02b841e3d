defmodule Lab.MixProject do
  # Simulation and demo of the rate limiter, which no application needs. It depends on the rate limiter as an application
  # does.
  use Mix.Project

  def project do
    [
      app: :rate_limiter_lab,
      version: "0.1.0",
      elixir: "~> 1.14",
      # One build of the rate limiter serves demo, tests and benches.
      build_per_environment: false,
      # The demo replays the log of the guide, and runs a Redis as the tests do.
      elixirc_paths: [
        "lib",
        Path.expand("../guides/access_log.ex", __DIR__),
        Path.expand("../test/support/program.ex", __DIR__)
      ],
      deps: [{:rate_limiter, path: ".."}]
    ]
  end

  def application, do: [extra_applications: [:logger]]
end
