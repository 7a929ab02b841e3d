defmodule Telemetry.MixProject do
  use Mix.Project

  def project do
    [
      app: :telemetry,
      version: "1.4.0",
      description: "Stand-in for the telemetry library, for machines without Hex",
      language: :erlang,
      erlc_options: [:debug_info, :warn_unused_import, :warn_export_vars, :warn_missing_spec],
      deps: []
    ]
  end

  def application do
    [
      mod: {:telemetry_app, []},
      registered: [:telemetry_sup, :telemetry_handler_table]
    ]
  end
end
