import Config

# The settings of this repository. An application that depends on RateLimiter does not see them, and the library
# reads no configuration of its own: limiters are options of its child in a supervision tree.
if config_env() in [:dev, :test], do: import_config("#{config_env()}.exs")
