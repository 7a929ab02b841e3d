defmodule RateLimiter.Redis.Environment do
  @moduledoc false
  # The environment variables that deployments name a Redis by.

  @doc "The option `:store` that they ask for."
  @spec options() :: [store: :local | {:redis, keyword}]
  def options, do: [store: if(enabled?(), do: {:redis, redis()}, else: :local)]

  defp enabled? do
    case get("REDIS_ENABLED") do
      nil ->
        get("REDIS_URL") != nil or get("REDIS_HOST") != nil

      yes when yes in ["true", "1"] ->
        true

      no when no in ["false", "0"] ->
        false

      other ->
        raise ArgumentError, "REDIS_ENABLED: expected true or false, got: #{inspect(other)}"
    end
  end

  # The URL, too, may hold a password: both go by name.
  defp redis do
    server =
      if get("REDIS_URL"),
        do: [url: {:system, "REDIS_URL"}],
        else: [host: get("REDIS_HOST"), port: port(get("REDIS_PORT"))]

    for {key, value} <- server ++ password(), value != nil, do: {key, value}
  end

  defp password, do: [password: get("REDIS_PASSWORD") && {:system, "REDIS_PASSWORD"}]

  defp port(nil), do: nil

  defp port(text) do
    case Integer.parse(text) do
      {port, ""} when port in 1..65_535 -> port
      _other -> raise ArgumentError, "REDIS_PORT: expected a port, got: #{inspect(text)}"
    end
  end

  defp get(name) do
    with "" <- System.get_env(name), do: nil
  end
end
