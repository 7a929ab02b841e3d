defmodule RateLimiter.Redis.Client do
  @moduledoc false
  # The native Redis client: the only caller of its functions.

  alias RateLimiter.Redis
  alias RateLimiter.Core.{Native, Secret}

  # How long a node counts as present after its last heartbeat: several of them may be lost.
  @keep_ms 10_000

  @typep tls :: %{servers: Native.tls() | nil, sentinels: Native.tls() | nil}

  @doc "Starts to connect in the background. The client lives as long as its owner."
  @spec start(term, Redis.Config.t(), tls, Native.credentials()) ::
          {:ok, Native.store(), Native.owner()} | {:error, String.t()}
  def start(instance, config, tls, credentials),
    do: instance |> to_native(config, tls) |> Native.redis_start(credentials)

  defdelegate stop(owner), to: Native, as: :redis_stop
  defdelegate subscribe(store, pid), to: Native, as: :redis_subscribe
  defdelegate report_batches(store, report?), to: Native, as: :redis_report_batches
  defdelegate handled(store), to: Native, as: :redis_handled
  defdelegate put_credentials(store, credentials), to: Native, as: :redis_credentials
  defdelegate put_tls(store, peers, tls), to: Native, as: :redis_tls
  defdelegate beat(store), to: Native, as: :redis_beat
  defdelegate leave(store), to: Native, as: :redis_leave
  defdelegate command(store, reference, key, words), to: Native, as: :redis_command

  @doc "Returns the status and the counts of the client, `nil` if it has stopped."
  @spec status(Native.store()) :: map | nil
  def status(store) do
    with :unknown_store <- Native.redis_status(store), do: nil
  end

  @doc "Returns whether a server of a status receives calls."
  @spec up?(map) :: boolean
  def up?(server), do: server.breaker == :closed and server.connections > 0

  @doc "Returns whether a server of a status receives calls and answers them."
  @spec healthy?(map) :: boolean
  def healthy?(server), do: up?(server) and not Map.get(server, :failing, false)

  defp to_native(instance, config, tls) do
    %{
      instance: :erlang.term_to_binary(instance),
      prefix: config.prefix,
      id_key: config.id_key && config.id_key.(),
      topology: topology(config, tls.sentinels),
      database: config.database,
      tls: tls.servers,
      timeout_ms: config.timeout,
      connect_timeout_ms: config.connect_timeout,
      connections: config.connections,
      max_queue: config.max_queue,
      cache_denials: config.cache_denials,
      node: node_name(instance),
      nodes: config.nodes || 1,
      keep_ms: @keep_ms
    }
  end

  defp topology(%{topology: {:server, address}}, _tls), do: {:server, address(address)}

  defp topology(%{topology: {:cluster, addresses}}, _tls),
    do: {:cluster, Enum.map(addresses, &address/1)}

  defp topology(%{topology: {:sentinel, group, addresses}} = config, tls) do
    tls = if config.sentinel_ssl == nil, do: :same, else: {:own, tls}
    {:sentinel, group, Enum.map(addresses, &address/1), sentinel_credentials(config), tls}
  end

  defp sentinel_credentials(%{sentinel_username: username, sentinel_password: nil}),
    do: {username, nil}

  # The validation of the options has already read it.
  defp sentinel_credentials(%{sentinel_username: username, sentinel_password: password}) do
    {:ok, password} = Secret.read(password)
    {username, password}
  end

  defp address({:tcp, host, port}), do: {host, port}
  defp address({:unix, path}), do: {path, 0}

  # A node keeps its name over a restart, and so replaces its former self. The process id distinguishes runtimes without a
  # name on one host.
  defp node_name(instance) do
    {:ok, host} = :inet.gethostname()
    runtime = if Node.alive?(), do: node(), else: System.pid()
    "#{host}/#{runtime}/#{:erlang.phash2(instance)}"
  end
end
