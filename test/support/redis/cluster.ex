defmodule RateLimiter.Support.Redis.Cluster do
  @moduledoc false
  # Three primaries with a third of the slots each, and a replica for each of them.

  alias RateLimiter.Support.Redis
  alias RateLimiter.Support.Redis.Server

  @slots 16_384
  @primaries [0..5_460, 5_461..10_922, 10_923..16_383]
  # How long a silent primary is waited for: longer than a machine stands still, until one is lost.
  @node_timeout_ms 60_000
  @lost_after_ms 1_500

  @enforce_keys [:nodes]
  defstruct [:nodes]

  @typedoc "The primaries first, and then the replica of each, in the same order."
  @type t :: %__MODULE__{nodes: [Server.t()]}

  @doc """
  Starts the six, and returns when all say that the cluster works.

  They are born knowing each other, from a file as they write it themselves: to meet, and to agree on who is who, takes
  seconds. Two of these remain, in which a new primary takes no writes.
  """
  @spec start!(keyword) :: t
  def start!(options \\ []) do
    config = [
      "cluster-enabled": "yes",
      "cluster-config-file": "nodes.conf",
      "cluster-node-timeout": @node_timeout_ms,
      "cluster-require-full-coverage": "no",
      # Else a replica whose copy is old in the eyes of its own clock does not stand for election.
      "cluster-replica-validity-factor": 0
    ]

    options = Keyword.update(options, :config, config, &(&1 ++ config))

    nodes = Server.start_all!(List.duplicate(options, 6), &introduce/1)
    cluster = %__MODULE__{nodes: nodes}
    Redis.eventually(fn -> Enum.all?(nodes, &ready?/1) end)
    cluster
  end

  @doc "The slot of a key."
  @spec slot(t, String.t()) :: 0..16_383
  def slot(%__MODULE__{nodes: [node | _]}, key),
    do: Server.command!(node, ["CLUSTER", "KEYSLOT", key])

  @doc "The node that has a slot now, as a node knows it that is in the cluster."
  @spec owner(t, 0..16_383) :: Server.t()
  def owner(%__MODULE__{nodes: nodes}, slot) do
    Enum.find_value(nodes, fn node ->
      with {:ok, ranges} <- Server.command(node, ["CLUSTER", "SLOTS"]),
           [_from, _to, [_host, port | _] | _] <-
             Enum.find(ranges, fn [from, to | _] -> slot in from..to end) do
        Enum.find(nodes, &(&1.port == port))
      else
        _other -> nil
      end
    end)
  end

  @doc "The primaries, each with the slots that it has at the start."
  @spec primaries(t) :: [{Server.t(), Range.t()}]
  def primaries(%__MODULE__{nodes: nodes}), do: Enum.zip(nodes, @primaries)

  @doc "The replica of a primary that is one since the start."
  @spec replica(t, Server.t()) :: Server.t()
  def replica(%__MODULE__{nodes: nodes}, primary),
    do: Enum.at(nodes, Enum.find_index(nodes, &(&1.port == primary.port)) + 3)

  @doc "Kills a primary; the others soon have its replica take over."
  @spec lose!(t, Server.t()) :: :ok
  def lose!(%__MODULE__{nodes: nodes}, lost) do
    :ok = Redis.kill(lost)

    for node <- nodes, node.port != lost.port do
      set = ["CONFIG", "SET", "cluster-node-timeout", @lost_after_ms]
      "OK" = Server.command!(node, set)
    end

    :ok
  end

  @doc """
  Begins to move a slot, as an operator would: the old owner answers `ASK` for the keys that it no longer has.

  Returns the old and the new owner, for `finish_move!/4`.
  """
  @spec begin_move!(t, 0..16_383) :: {Server.t(), Server.t()}
  def begin_move!(%__MODULE__{nodes: nodes} = cluster, slot) do
    from = owner(cluster, slot)
    to = nodes |> Enum.take(3) |> Enum.find(&(&1.port != from.port))
    "OK" = Server.command!(to, ["CLUSTER", "SETSLOT", slot, "IMPORTING", id(from)])
    "OK" = Server.command!(from, ["CLUSTER", "SETSLOT", slot, "MIGRATING", id(to)])
    {from, to}
  end

  @doc "Moves the keys that the slot has now."
  @spec move_keys!(0..16_383, Server.t(), Server.t()) :: :ok
  def move_keys!(slot, from, to) do
    case Server.command!(from, ["CLUSTER", "GETKEYSINSLOT", slot, 100]) do
      [] ->
        :ok

      keys ->
        Server.command!(from, ["MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "KEYS" | keys])
        move_keys!(slot, from, to)
    end
  end

  @doc "Moves what is left of the slot, and says to all primaries whose it is."
  @spec finish_move!(t, 0..16_383, Server.t(), Server.t()) :: :ok
  def finish_move!(%__MODULE__{nodes: nodes}, slot, from, to) do
    :ok = move_keys!(slot, from, to)
    others = nodes |> Enum.take(3) |> Enum.reject(&(&1.port in [from.port, to.port]))

    # The new owner first: else a client is sent to one that does not know yet that it is the owner.
    for node <- [to, from | others],
        do: "OK" = Server.command!(node, ["CLUSTER", "SETSLOT", slot, "NODE", id(to)])

    :ok
  end

  @doc "The name of a node within the cluster."
  @spec id(Server.t()) :: String.t()
  def id(server), do: Server.command!(server, ["CLUSTER", "MYID"])

  defp ready?(node) do
    info = Server.command!(node, ["CLUSTER", "INFO"])

    info =~ "cluster_state:ok" and info =~ "cluster_slots_ok:#{@slots}" and
      (Redis.info(node, "role") == "master" or Redis.info(node, "master_link_status") == "up")
  end

  # The file that each node would write, from the ports that they all will have.
  defp introduce(servers) do
    ids =
      for server <- servers,
          do: {server, server.port |> Integer.to_string() |> String.pad_leading(40, "0")}

    for {server, id} <- ids do
      lines =
        for {{other, other_id}, index} <- Enum.with_index(ids),
            do: line(other, other_id, index, id, ids)

      text = Enum.join(lines ++ ["vars currentEpoch 3 lastVoteEpoch 0"], "\n") <> "\n"
      File.write!(Path.join(server.directory, "nodes.conf"), text)
    end
  end

  defp line(server, id, index, my_id, ids) do
    myself = if id == my_id, do: "myself,", else: ""
    address = "127.0.0.1:#{server.port}@#{server.bus_port}"

    case Enum.at(@primaries, index) do
      nil ->
        {_primary, primary_id} = Enum.at(ids, index - 3)
        "#{id} #{address} #{myself}slave #{primary_id} 0 0 #{index - 2} connected"

      from..to//_ ->
        "#{id} #{address} #{myself}master - 0 0 #{index + 1} connected #{from}-#{to}"
    end
  end
end
