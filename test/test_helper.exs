# `mix test` leaves out what takes long, for the edit loop; bin/test runs all of it. A failing server or node takes its
# time to be noticed, hence the long timeout.
ExUnit.start(timeout: 600_000, exclude: [:slow, :dependency, :browser, :libraries, :parsers])
