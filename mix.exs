# The compiler of the native library: it must exist before anything of this project is compiled.
Code.require_file("mix/native.exs", __DIR__)

defmodule RateLimiter.MixProject do
  use Mix.Project

  @version "0.1.0"
  @source_url "https://github.com/exact-rate-limiter/exact_rate_limiter"

  def project do
    [
      app: :rate_limiter,
      version: @version,
      elixir: "~> 1.14",
      name: "RateLimiter",
      description:
        "Exact rate limits for Elixir and Phoenix: in memory, or shared by all nodes in Redis or Valkey.",
      source_url: @source_url,
      compilers: [:rate_limiter_nif | Mix.compilers()],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      deps: deps(),
      package: package(),
      docs: docs()
    ]
  end

  def application do
    [mod: {RateLimiter.Application, []}, extra_applications: applications(Mix.env())]
  end

  # Tests create certificates, parse SVG, and mirror a release over HTTP.
  defp applications(:test), do: [:public_key, :ssl, :inets, :xmerl | applications(:prod)]
  defp applications(_env), do: [:logger, :crypto, :eex, inets: :optional, ssl: :optional]

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # Where nothing can be fetched, the stand-in for telemetry keeps this repository, and an
  # application that depends on it by path, compiling and tested.
  defp deps do
    if hex?() do
      [
        {:telemetry, "~> 1.0"},
        {:plug, "~> 1.14", optional: true},
        {:telemetry_metrics, "~> 1.0", optional: true},
        {:prom_ex, "~> 1.11", optional: true},
        {:opentelemetry_api, "~> 1.2", optional: true},
        {:opentelemetry_api_experimental, "~> 0.5", optional: true},
        {:phoenix_live_view, "~> 0.20 or ~> 1.0", optional: true},
        {:req, "~> 0.5", optional: true},
        {:ex_doc, "~> 0.34", only: :dev, runtime: false}
      ]
    else
      [{:telemetry, path: "vendor/telemetry"}]
    end
  end

  # Whether a registry can be reached is known only after a request to it. `HEX_OFFLINE` is how
  # Hex is told that it cannot; a package that was fetched before is used then, too.
  defp hex? do
    Code.ensure_loaded?(Hex) and
      (System.get_env("HEX_OFFLINE", "") not in ~w(1 true) or fetched?("telemetry") or
         not File.dir?(Path.join(__DIR__, "vendor")))
  end

  defp fetched?(package) do
    home = System.get_env("HEX_HOME") || Path.expand("~/.hex")
    Path.wildcard(Path.join(home, "packages/hexpm/#{package}-*.tar")) != []
  end

  # `rate_limiter` on Hex is another library, hence the name.
  defp package do
    [
      name: "exact_rate_limiter",
      licenses: ["Apache-2.0"],
      links: %{
        "GitHub" => @source_url,
        "Changelog" => @source_url <> "/blob/v#{@version}/CHANGELOG.md"
      },
      files:
        ~w(lib mix mix.exs native/*/src native/*/lua native/*/Cargo.toml Cargo.toml Cargo.lock
                .cargo grafana test/vectors/derived.txt checksums.exs .formatter.exs README.md CHANGELOG.md LICENSE guides)
    ]
  end

  defp docs do
    [
      main: "readme",
      source_ref: "v#{@version}",
      assets: %{"assets" => "assets", "guides/images" => "images"},
      extras: [
        "README.md",
        "guides/getting-started.md",
        "guides/limits.md",
        "guides/customers.md",
        "guides/http.md",
        "guides/redis.md",
        "guides/stores.md",
        "guides/vsm.md",
        "guides/telemetry.md",
        "guides/testing.md",
        "guides/changing-limits.md",
        "guides/operations.md",
        "guides/replay.md",
        "guides/speed.md",
        "guides/migrating-from-hammer.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md"
      ],
      groups_for_extras: [
        Guides: ~r"guides/",
        Project: ~r"(ARCHITECTURE|CONTRIBUTING|SECURITY|CHANGELOG)"
      ],
      groups_for_modules: [
        Limits: [
          RateLimiter,
          RateLimiter.Usage,
          RateLimiter.Limits,
          RateLimiter.HTTP,
          RateLimiter.Plug,
          RateLimiter.Phoenix,
          RateLimiter.LiveView,
          RateLimiter.Oban,
          ~r"^RateLimiter\.Req",
          RateLimiter.Config,
          RateLimiter.Redis,
          RateLimiter.Store,
          RateLimiter.Store.Postgres,
          RateLimiter.Logger,
          RateLimiter.Metrics,
          RateLimiter.Webhook,
          RateLimiter.Audit,
          RateLimiter.OpenTelemetry,
          RateLimiter.PromEx,
          RateLimiter.Telemetry
        ],
        "Adaptive limits": [RateLimiter.VSM, RateLimiter.Algedonic, RateLimiter.Health],
        "Control laws": ~r"^RateLimiter\.Adaptive",
        Tools: [
          RateLimiter.Dashboard,
          RateLimiter.Doctor,
          RateLimiter.Top,
          ~r"^RateLimiter\.Replay"
        ],
        Testing: [RateLimiter.Test, RateLimiter.Store.Conformance, RateLimiter.Store.Mock]
      ],
      nest_modules_by_prefix: [RateLimiter.Adaptive, RateLimiter.Replay]
    ]
  end
end
