defmodule RateLimiter.Support.Redis.Sentinel do
  @moduledoc false
  # A primary, a replica of it, and a Sentinel that promotes the replica.

  alias RateLimiter.Support.Redis
  alias RateLimiter.Support.Redis.Server

  @group "mymaster"
  # How long a silent primary is waited for: longer than a machine stands still, until one is lost.
  @down_after_ms 60_000
  @lost_after_ms 500

  @enforce_keys [:group, :primary, :replica, :sentinel]
  defstruct [:group, :primary, :replica, :sentinel]

  @type t :: %__MODULE__{
          group: String.t(),
          primary: Server.t(),
          replica: Server.t(),
          sentinel: Server.t()
        }

  @doc "Starts the three, and returns when Sentinel knows a replica that it can promote. `sentinel_tls: true` is TLS for it alone."
  @spec start!(keyword) :: t
  def start!(options \\ []) do
    {tls?, options} = Keyword.pop(options, :sentinel_tls, false)
    primary = Server.start!(options)

    # Promoted and gone again, it is not to wait for a full copy.
    follow = [replicaof: "127.0.0.1 #{primary.port}"]
    replica = Server.start!(Keyword.update(options, :config, follow, &(&1 ++ follow)))
    Redis.eventually(fn -> Redis.info(replica, "master_link_status") == "up" end)

    watch = [
      "sentinel monitor": "#{@group} 127.0.0.1 #{primary.port} 1",
      "sentinel down-after-milliseconds": "#{@group} #{@down_after_ms}",
      # Also for how long a replica may take to be promoted.
      "sentinel failover-timeout": "#{@group} 60000"
    ]

    program = Keyword.take(options, [:program]) ++ [tls: tls?]
    sentinel = Server.start!(program ++ [arguments: ["--sentinel"], config: watch])

    sentinels = %__MODULE__{group: @group, primary: primary, replica: replica, sentinel: sentinel}
    Redis.eventually(fn -> promotable?(sentinels) end)
    sentinels
  end

  @doc "The port of the primary, as Sentinel knows it."
  @spec primary_port(t) :: :inet.port_number()
  def primary_port(%__MODULE__{} = sentinels) do
    [_host, port] =
      Server.command!(sentinels.sentinel, ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", @group])

    String.to_integer(port)
  end

  @doc "Makes the replica the primary, and returns when it is; the old one, if it lives, follows it."
  @spec promote!(t) :: t
  def promote!(%__MODULE__{} = sentinels) do
    # It is refused while Sentinel has not heard from the replica for a moment.
    Redis.eventually(fn ->
      Server.command(sentinels.sentinel, ["SENTINEL", "FAILOVER", @group]) == {:ok, "OK"}
    end)

    await_promoted!(sentinels)
  end

  @doc "Kills the primary, and returns when the replica is it."
  @spec lose_primary!(t) :: t
  def lose_primary!(%__MODULE__{primary: primary} = sentinels) do
    :ok = Redis.kill(primary)
    # One that fails is tried again after two timeouts.
    set!(sentinels, "failover-timeout", 3_000)
    set!(sentinels, "down-after-milliseconds", @lost_after_ms)
    await_promoted!(sentinels)
  end

  # When the replica is primary, and Sentinel says so.
  defp await_promoted!(%__MODULE__{primary: primary, replica: replica} = sentinels) do
    Redis.eventually(fn ->
      Redis.info(replica, "role") == "master" and primary_port(sentinels) == replica.port
    end)

    %{sentinels | primary: replica, replica: primary}
  end

  defp set!(%__MODULE__{sentinel: sentinel}, name, value),
    do: "OK" = Server.command!(sentinel, ["SENTINEL", "SET", @group, name, value])

  defp promotable?(sentinels) do
    case Server.command!(sentinels.sentinel, ["SENTINEL", "REPLICAS", @group]) do
      [fields] ->
        known = fields |> Enum.chunk_every(2) |> Map.new(&List.to_tuple/1)
        known["flags"] == "slave" and known["master-link-status"] == "ok"

      [] ->
        false
    end
  end
end
