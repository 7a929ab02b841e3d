defmodule RateLimiter.Support.Team do
  @moduledoc false
  # The subsystems of several nodes in one BEAM. Each has its own connection to Redis, as a user of its own, so that a
  # test can cut one off.

  import RateLimiter.Support.Eventually

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.{Agreement, Algedonic, VSM}
  alias RateLimiter.Redis.Client
  alias RateLimiter.Support.{Redis, ScriptedLaw}
  alias RateLimiter.VSM.{Table, Tree}

  @quiet [schedulers: false, run_queue: false, timer: false, memory: false]

  @doc "Starts a server with so many users."
  def server!(count) do
    users = for n <- 1..count, do: {:user, "node#{n} on >secret ~* &* +@all"}
    Redis.start!(config: users)
  end

  @doc "The child specification of a node: `{server, number, instance, options of vsm}`, with Redis's `:timeout`."
  def child_spec({_server, number, _instance, _vsm} = argument),
    do: %{
      id: {__MODULE__, number},
      start: {__MODULE__, :start_link, [argument]},
      restart: :temporary
    }

  @doc false
  def start_link(argument), do: Agent.start_link(fn -> open(argument) end)

  @doc """
  Options of a subsystem whose law cuts to `1 - pain` in one step, since these tests are about the agreement and not
  about the pace of a law.
  """
  def direct(key) do
    ScriptedLaw.say(key, fn state, %{pain: pain} ->
      {level, source} = Enum.max(for({s, l} <- pain, do: {l, s}), fn -> {0.0, nil} end)
      scale = max(0.1, 1.0 - level)

      if abs(scale - state.scale) > 0.05 do
        action = if scale < state.scale, do: :cut, else: :grow
        sentence = "Pain of #{inspect(source)}: #{action}."

        %Decision{
          scale: scale,
          from: state.scale,
          action: action,
          news?: true,
          sentence: sentence
        }
      else
        %Decision{scale: state.scale, from: state.scale}
      end
    end)

    [law: ScriptedLaw.options(self(), key: key)]
  end

  @doc "Returns the subsystems of a node."
  def table(node), do: Agent.get(node, & &1.table)

  def subsystem(node), do: node |> table() |> Table.subsystem(:a)

  @doc "Returns whether a node is connected to the server."
  def connected?(node), do: match?(%{servers: [%{connections: 1} | _]}, status(node))

  @doc "Returns how many commands of a node the server has refused."
  def refused(node), do: status(node).refused

  def metrics(node, name \\ :a), do: node |> table() |> VSM.Metrics.all() |> Map.fetch!(name)
  def explain(node, name \\ :a), do: node |> table() |> VSM.Explain.last(name)
  def epoch(node), do: metrics(node).agreement.epoch

  @doc "Returns whether these nodes agree, and are so many."
  def agreed?(nodes, count),
    do: Enum.all?(nodes, &match?(%{state: :agreed, nodes: ^count}, metrics(&1).agreement))

  def one_scale?(nodes), do: match?([_], nodes |> Enum.map(&metrics(&1).scale) |> Enum.uniq())

  @doc "Returns a cut that the nodes agreed on. A node that is held up for a window cuts alone."
  def agreed_cut(node),
    do: Enum.find(explain(node), &(&1.action == :cut and &1.agreement == :agreed))

  def hurt(node, level), do: Algedonic.report(subsystem(node), :pain, :probe, level, "a test")

  @doc "Reports pain again and again until the condition holds."
  def hurt_until(node, level, condition) do
    eventually(fn ->
      hurt(node, level)
      condition.()
    end)
  end

  @doc "Waits until a node has taken part in some more steps."
  def await_steps(node, steps \\ 2) do
    # A node that was held up at its start has no epoch yet.
    eventually(fn -> is_integer(epoch(node)) end)
    before = epoch(node)
    eventually(fn -> epoch(node) > before + steps end)
  end

  @doc "Returns the agreed epoch and its window, read at once."
  def agreed(server) do
    [key] = Redis.command!(server, ["KEYS", "*:agreed"])
    numbers = Redis.command!(server, ["HMGET", key, "epoch", "window"])
    Enum.map(numbers, &String.to_integer/1)
  end

  @doc "Cuts a node off: its user is disabled, and its connections are closed."
  def cut_off(server, number) do
    Redis.command!(server, ["ACL", "SETUSER", "node#{number}", "off"])
    Redis.command!(server, ["CLIENT", "KILL", "USER", "node#{number}"])
    :ok
  end

  @doc "Enables a node's user again, with these rights."
  def let_back(server, number, rights \\ "+@all") do
    Redis.command!(server, ["ACL", "SETUSER", "node#{number}", "on", rights])
    :ok
  end

  defp status(node) do
    %{store: store} = node |> table() |> Table.get(:agreement)
    Client.status(store)
  end

  defp open({server, number, instance, vsm}) do
    {timeout, vsm} = Keyword.pop(vsm, :timeout, 5_000)
    vsm = Keyword.merge([interval: 250, sensors: @quiet], vsm)
    config = VSM.Config.new!(vsm, [:vsm])
    redis = RateLimiter.Redis.Config.new!(url: Redis.url(server), timeout: timeout)

    {:ok, store, owner} =
      Client.start(instance, redis, %{servers: nil, sentinels: nil}, {"node#{number}", "secret"})

    agreement = %{Agreement.new(store, "rate_limiter", instance) | label: "node #{number}"}
    table = Tree.new(config, instance, :monotonic, agreement)
    {:ok, loops} = VSM.Supervisor.start_link(table)
    %{table: table, owner: owner, loops: loops}
  end
end
