# `mix test` leaves out what takes long, for the edit loop; bin/test runs all of it. A failing server or node takes its
# time to be noticed, hence the long timeout.
#
# Outages are logged at `:warning`, and tests make many: what a test has logged is printed if it fails.
ExUnit.start(
  timeout: 600_000,
  capture_log: true,
  exclude: [:slow, :dependency, :browser, :libraries, :parsers]
)
