import Config

# Tests stop and kill processes on purpose; what the library logs is captured where a test asserts it.
config :logger, level: :warning
