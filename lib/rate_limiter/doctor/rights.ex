defmodule RateLimiter.Doctor.Rights do
  @moduledoc false
  # The commands that the user of a server may not run.
  #
  # Each is tried on a key that holds a string. A server checks the right first, so the answer WRONGTYPE shows that the
  # command is allowed, and nothing is written.

  alias RateLimiter.Core.Native
  alias RateLimiter.Redis.Client

  @calls ~w(time mget exists del)
  @nodes ~w(eval zadd zrem zremrangebyscore zrange pexpire)
  @agreement ~w(hset hsetnx hget hgetall hdel hincrby)
  @reply_ms 10_000
  @lives_ms "10000"

  @typedoc "The rights that are missing, by what needs them."
  @type missing :: %{calls: [String.t()], nodes: [String.t()], agreement: [String.t()]}

  @doc "Returns the rights that are missing on the server of this key, which no limiter may use."
  @spec missing(Native.store(), String.t()) :: missing
  def missing(store, key) do
    # A server without this right takes no connection. The key must not be a hash or a set.
    if refused?(store, key, ["SET", key, "", "PX", @lives_ms]),
      do: %{calls: ["set"], nodes: [], agreement: []},
      else: %{
        nodes: refused(@nodes, store, key),
        agreement: refused(@agreement, store, key),
        # Last, since it deletes the key.
        calls: refused(@calls, store, key)
      }
  end

  defp refused(commands, store, key),
    do: Enum.filter(commands, &refused?(store, key, words(&1, key)))

  defp words("time", _key), do: ["TIME"]
  defp words("eval", key), do: ["EVAL", "return 1", "1", key]
  defp words("pexpire", key), do: ["PEXPIRE", key, @lives_ms]
  defp words("zadd", key), do: ["ZADD", key, "0", "a"]
  defp words("zremrangebyscore", key), do: ["ZREMRANGEBYSCORE", key, "0", "0"]
  defp words("zrange", key), do: ["ZRANGE", key, "0", "0"]
  defp words(name, key) when name in ~w(hset hsetnx), do: [name, key, "a", "0"]
  defp words("hincrby", key), do: ["HINCRBY", key, "a", "0"]
  defp words(name, key) when name in ~w(mget exists del hgetall), do: [name, key]
  defp words(name, key) when name in ~w(zrem hget hdel), do: [name, key, "a"]

  defp refused?(store, key, words) do
    reference = make_ref()

    with {:sent, _wait_ms} <- Client.command(store, reference, key, words) do
      receive do
        {^reference, {:error, message}} when is_binary(message) ->
          message =~ ~r/^NOPERM|^ERR unknown command/

        {^reference, _reply_or_none} ->
          false
      after
        @reply_ms -> false
      end
    else
      _not_sent -> false
    end
  end
end
