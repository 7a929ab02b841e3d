defmodule RateLimiter.Doctor.Server do
  @moduledoc false
  # The checks of one server by its `INFO`: version, eviction when its memory is full, replicas, and its clock.

  alias RateLimiter.Doctor
  alias RateLimiter.Core.Native
  alias RateLimiter.Redis.Client

  @oldest_major 7
  @reply_ms 10_000
  @lag_s 10
  @apart_ms 2_000

  @doc "Checks the server that holds this key."
  @spec check(Native.store(), String.t()) :: [Doctor.finding(), ...]
  def check(store, key) do
    case info(store, key) do
      {:ok, info} -> [version(info), memory(info), replicas(info)] ++ clock(info, now_ms())
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

  @doc "Checks the replicas in a reply to `INFO`."
  @spec replicas(String.t()) :: Doctor.finding()
  def replicas(info) do
    replicas = Regex.scan(~r/^slave\d+:(.*?)\r?$/m, info, capture: :all_but_first)
    behind = for [replica] <- replicas, behind?(replica), do: address(replica)

    case {field(info, "role"), replicas, behind} do
      {"slave", _replicas, _behind} ->
        {:failure, "replicas", "this server is a replica, and refuses to count",
         "name its primary, or let Sentinels find it: sentinels: (--sentinels) and group: (--group)"}

      {_primary, [], _behind} ->
        {:ok, "replicas", "none", nil}

      {_primary, replicas, []} ->
        {:ok, "replicas", "#{length(replicas)}, none more than #{@lag_s} s behind", nil}

      {_primary, replicas, behind} ->
        {:warning, "replicas",
         "#{length(behind)} of #{length(replicas)} are more than #{@lag_s} s behind: #{Enum.join(behind, ", ")}",
         "a failover to one of them loses what it does not have; look at its link to the primary"}
    end
  end

  defp behind?(replica) do
    lag = with [_, lag] <- Regex.run(~r/lag=(\d+)/, replica), do: String.to_integer(lag)
    not (replica =~ "state=online") or (is_integer(lag) and lag > @lag_s)
  end

  defp address(replica) do
    [ip, port] = for name <- ["ip", "port"], do: part(replica, name)
    "#{ip}:#{port}"
  end

  defp part(replica, name),
    do: with([_, value] <- Regex.run(~r/#{name}=([^,]*)/, replica), do: value)

  @doc "Compares the clock in a reply to `INFO` with `now_ms`, since 1970. Servers before 7.0 do not tell theirs."
  @spec clock(String.t(), integer) :: [Doctor.finding()]
  def clock(info, now_ms) do
    case field(info, "server_time_usec") do
      nil -> []
      us -> [apart(div(String.to_integer(us), 1_000) - now_ms)]
    end
  end

  defp apart(ms) when abs(ms) <= @apart_ms,
    do: {:ok, "clock", "that of Redis and that of this node agree within #{@apart_ms} ms", nil}

  defp apart(ms) do
    {:warning, "clock",
     "that of Redis is #{abs(ms)} ms #{if ms > 0, do: "ahead of", else: "behind"} that of this node",
     "let both follow NTP: Redis counts by its own, and a node that starts in an outage by that of the node"}
  end

  defp now_ms, do: System.system_time(:millisecond)

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
