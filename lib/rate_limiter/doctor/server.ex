defmodule RateLimiter.Doctor.Server do
  @moduledoc false
  # The checks of one server by its `INFO`: version, and eviction when its memory is full.

  alias RateLimiter.Doctor
  alias RateLimiter.Core.Native
  alias RateLimiter.Redis.Client

  @oldest_major 7
  @reply_ms 10_000

  @doc "Checks the server that holds this key."
  @spec check(Native.store(), String.t()) :: [Doctor.finding(), ...]
  def check(store, key) do
    case info(store, key) do
      {:ok, info} -> [version(info), memory(info)]
      {:error, why} -> [unknown(why)]
    end
  end

  @doc "Checks the version in a reply to `INFO`."
  @spec version(String.t()) :: Doctor.finding()
  def version(info) do
    {name, version} =
      case field(info, "valkey_version") do
        nil -> {"Redis", field(info, "redis_version") || "0"}
        version -> {"Valkey", version}
      end

    {major, _rest} = Integer.parse(version)

    if major >= @oldest_major,
      do: {:ok, "version", "#{name} #{version}", nil},
      else:
        {:warning, "version", "#{name} #{version}",
         "expected #{@oldest_major}.0 or newer: older servers are not tested"}
  end

  @doc "Checks the eviction policy in a reply to `INFO`."
  @spec memory(String.t()) :: Doctor.finding()
  def memory(info) do
    policy = field(info, "maxmemory_policy")

    case field(info, "maxmemory") do
      "0" ->
        {:ok, "memory", "no maxmemory is set: Redis evicts no key", nil}

      bytes when policy == "noeviction" ->
        {:ok, "memory",
         "maxmemory #{bytes}, noeviction: Redis evicts no key; when it is full, limiters follow their :on_outage",
         nil}

      bytes ->
        {:warning, "memory",
         "maxmemory #{bytes}, #{policy}: when it is full, Redis evicts keys, and their usage is lost",
         "set maxmemory-policy noeviction, and give limits a server of their own"}
    end
  end

  defp unknown(why) do
    {:warning, "memory", "cannot read whether Redis evicts keys when it is full: #{why}",
     "grant its user +info, or check maxmemory-policy yourself"}
  end

  defp info(store, key) do
    reference = make_ref()

    case Client.command(store, reference, key, ["INFO"]) do
      {:sent, _wait_ms} ->
        receive do
          {^reference, {:ok, info}} when is_binary(info) -> {:ok, info}
          {^reference, {:ok, _other}} -> {:error, "unexpected reply"}
          {^reference, {:error, why}} -> {:error, to_string(why)}
        after
          @reply_ms -> {:error, "no reply"}
        end

      failure ->
        {:error, to_string(failure)}
    end
  end

  defp field(info, name) do
    case Regex.run(~r/^#{name}:(.*?)\r?$/m, info) do
      [_line, value] -> value
      nil -> nil
    end
  end
end
