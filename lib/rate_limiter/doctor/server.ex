defmodule RateLimiter.Doctor.Server do
  @moduledoc false
  # What a server says of itself: which it is, and whether it keeps what it was told when its memory is full.

  alias RateLimiter.Doctor
  alias RateLimiter.Core.Native
  alias RateLimiter.Redis.Client

  @oldest 7
  @answer_ms 10_000

  @doc "What the server of this key says."
  @spec examine(Native.store(), String.t()) :: [Doctor.finding(), ...]
  def examine(store, key) do
    case ask(store, key) do
      {:ok, info} -> [version(info), memory(info)]
      {:error, why} -> [untold(why)]
    end
  end

  @doc "Which server it is, by what `INFO` says."
  @spec version(String.t()) :: Doctor.finding()
  def version(info) do
    {name, version} =
      case field(info, "valkey_version") do
        nil -> {"Redis", field(info, "redis_version") || "0"}
        version -> {"Valkey", version}
      end

    {major, _rest} = Integer.parse(version)

    if major >= @oldest,
      do: {:ok, "version", "#{name} #{version}", nil},
      else:
        {:warning, "version", "#{name} #{version}",
         "expected #{@oldest}.0 or newer: with older ones nothing was tested"}
  end

  @doc "Whether it forgets what was used, by what `INFO` says."
  @spec memory(String.t()) :: Doctor.finding()
  def memory(info) do
    policy = field(info, "maxmemory_policy")

    case field(info, "maxmemory") do
      "0" ->
        {:ok, "memory", "no maxmemory is set: nothing is forgotten", nil}

      bytes when policy == "noeviction" ->
        {:ok, "memory",
         "maxmemory #{bytes}, noeviction: nothing is forgotten; when it is full, nodes go on by their shares",
         nil}

      bytes ->
        {:warning, "memory",
         "maxmemory #{bytes}, #{policy}: when it is full it forgets who has used what",
         "set maxmemory-policy noeviction, and give limits a server of their own"}
    end
  end

  defp untold(why) do
    {:warning, "memory", "whether it forgets keys when it is full is not told: #{why}",
     "grant its user +info, or look at maxmemory-policy yourself"}
  end

  defp ask(store, key) do
    reference = make_ref()

    case Client.command(store, reference, key, ["INFO"]) do
      {:sent, _wait_ms} ->
        receive do
          {^reference, {:ok, info}} when is_binary(info) -> {:ok, info}
          {^reference, {:ok, _other}} -> {:error, "its answer is no text"}
          {^reference, {:error, why}} -> {:error, to_string(why)}
        after
          @answer_ms -> {:error, "no answer"}
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
