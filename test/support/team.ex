defmodule RateLimiter.Support.Team do
  @moduledoc false
  # The subsystems of several nodes, in one: each has its own way to Redis, as a user of its own, so that one can be cut
  # off and the others not.

  alias RateLimiter.{Agreement, VSM}
  alias RateLimiter.Redis.Client
  alias RateLimiter.Support.Redis
  alias RateLimiter.VSM.{Table, Tree}

  @quiet [schedulers: false, run_queue: false, timer: false, memory: false]

  @doc "A server that knows so many nodes."
  def server!(count) do
    users = for n <- 1..count, do: {:user, "node#{n} on >secret ~* &* +@all"}
    Redis.start!(config: users)
  end

  @doc "The child specification of a node: `{server, number, instance, options of vsm}`, and how
  long Redis may take."
  def child_spec({_server, number, _instance, _vsm} = argument),
    do: %{
      id: {__MODULE__, number},
      start: {__MODULE__, :start_link, [argument]},
      restart: :temporary
    }

  @doc false
  def start_link(argument), do: Agent.start_link(fn -> open(argument) end)

  @doc "The subsystems of a node."
  def space(node), do: Agent.get(node, & &1.space)

  @doc "Whether a node has its way to the server."
  def connected?(node) do
    %{store: store} = node |> space() |> Table.get(:agreement)
    match?(%{servers: [%{connections: 1} | _]}, Client.status(store))
  end

  @doc "How many commands of a node the server has refused."
  def refused(node) do
    %{store: store} = node |> space() |> Table.get(:agreement)
    Client.status(store).refused
  end

  @doc "How a node's subsystem is, as `subsystem_metrics/1` tells it."
  def metrics(node, name \\ :a), do: node |> space() |> VSM.Metrics.all() |> Map.fetch!(name)

  @doc "What a node's subsystem explains."
  def explain(node, name \\ :a), do: node |> space() |> VSM.Explain.last(name)

  @doc "Cuts a node off: it is no user any more, and its connections end."
  def cut_off(server, number) do
    Redis.command!(server, ["ACL", "SETUSER", "node#{number}", "off"])
    Redis.command!(server, ["CLIENT", "KILL", "USER", "node#{number}"])
    :ok
  end

  @doc "Lets it come back, with other rights if need be."
  def let_back(server, number, rights \\ "+@all") do
    Redis.command!(server, ["ACL", "SETUSER", "node#{number}", "on", rights])
    :ok
  end

  defp open({server, number, instance, vsm}) do
    {timeout, vsm} = Keyword.pop(vsm, :timeout, 5_000)
    vsm = Keyword.merge([interval: 250, sensors: @quiet], vsm)
    config = VSM.Config.new!(vsm, [:vsm])
    redis = RateLimiter.Redis.Config.new!(url: Redis.url(server), timeout: timeout)
    {:ok, store, owner} = Client.start(instance, redis, nil, {"node#{number}", "secret"})
    agreement = %{Agreement.new(store, "rate_limiter", instance) | label: "node #{number}"}
    space = Tree.new(config, instance, :monotonic, agreement)
    {:ok, loops} = VSM.Supervisor.start_link(space)
    %{space: space, owner: owner, loops: loops}
  end
end
