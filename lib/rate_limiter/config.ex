defmodule RateLimiter.Config do
  @moduledoc """
  Options of an instance from environment variables.

  The library itself does not read the environment: the application calls this function, as does
  `RateLimiter.Doctor`. All options are listed at `RateLimiter.start_link/1`.
  """

  @doc """
  Returns the option `:store` for the Redis that environment variables name.

  Returns `[store: {:redis, options}]` if `REDIS_ENABLED` is `true`, or if it is not set and `REDIS_URL` or `REDIS_HOST`
  is. Otherwise returns `[store: :local]`.

    * `REDIS_ENABLED` - `true` or `1`, `false` or `0`.
    * `REDIS_URL` - the option `:url`. Takes precedence over `REDIS_HOST` and `REDIS_PORT`.
    * `REDIS_HOST`, `REDIS_PORT` - the options `:host` and `:port`.
    * `REDIS_PASSWORD` - the password. The variable is read again after each loss of a connection.

  An empty variable counts as not set.

      limiters = [api: [windows: [minute: [limit: 60, per: :minute]]]]
      children = [{RateLimiter, RateLimiter.Config.from_env() ++ [limiters: limiters]}]

  ## Examples

      iex> System.put_env("REDIS_HOST", "10.0.0.7")
      iex> RateLimiter.Config.from_env()
      [store: {:redis, [host: "10.0.0.7"]}]
      iex> System.put_env("REDIS_ENABLED", "false")
      iex> RateLimiter.Config.from_env()
      [store: :local]

  Raises `ArgumentError` if `REDIS_ENABLED` has another value, or `REDIS_PORT` is not a port.
  """
  @spec from_env() :: [store: :local | {:redis, keyword}]
  def from_env, do: [store: if(enabled?(), do: {:redis, redis()}, else: :local)]

  defp enabled? do
    case get("REDIS_ENABLED") do
      nil ->
        get("REDIS_URL") != nil or get("REDIS_HOST") != nil

      value when value in ["true", "1"] ->
        true

      value when value in ["false", "0"] ->
        false

      other ->
        raise ArgumentError, "REDIS_ENABLED: expected true or false, got: #{inspect(other)}"
    end
  end

  # The URL may contain a password, too, so both are passed by the name of their variable.
  defp redis do
    server =
      if get("REDIS_URL"),
        do: [url: {:system, "REDIS_URL"}],
        else: [host: get("REDIS_HOST"), port: port(get("REDIS_PORT"))]

    password = get("REDIS_PASSWORD") && {:system, "REDIS_PASSWORD"}
    for {key, value} <- server ++ [password: password], value != nil, do: {key, value}
  end

  defp port(nil), do: nil

  defp port(text) do
    case Integer.parse(text) do
      {port, ""} when port in 1..65_535 ->
        port

      _other ->
        raise ArgumentError,
              "REDIS_PORT: expected a port from 1 to 65535, got: #{inspect(text)}"
    end
  end

  defp get(name) do
    with "" <- System.get_env(name), do: nil
  end
end
