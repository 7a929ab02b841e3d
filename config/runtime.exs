import Config

# An example for applications, read here only to keep it valid. In an application, the same lines under its own
# name read the environment when the node starts, in Mix and in a release alike:
#
#     config :my_app, RateLimiter, RateLimiter.Config.from_env() ++ [limiters: ...]
#
# and the supervision tree takes them from there:
#
#     children = [{RateLimiter, Application.fetch_env!(:my_app, RateLimiter)}]
if config_env() == :dev do
  # REDIS_ENABLED, REDIS_URL (or REDIS_HOST, REDIS_PORT) and REDIS_PASSWORD choose the store.
  store = RateLimiter.Config.from_env()

  # Numbers come as strings, and are checked when the instance starts.
  per_minute = "API_LIMIT_PER_MINUTE" |> System.get_env("600") |> String.to_integer()

  config :rate_limiter,
         :example,
         store ++ [limiters: [api: [windows: [burst: [limit: per_minute, per: :minute]]]]]
end
