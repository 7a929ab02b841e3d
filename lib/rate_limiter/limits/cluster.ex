defmodule RateLimiter.Limits.Cluster do
  @moduledoc false
  # Changes of limits, and resets of whole limiters, for all nodes of a Redis.
  #
  # Twice a second each node asks Redis for what has changed, and says which limits it has. So a change needs no connection
  # between nodes, reaches a node that was cut off when that is back, and one that starts later. While nothing changes, a call
  # here is one small command.

  use GenServer

  alias RateLimiter.{Agreement, Instance, Store, Telemetry}
  alias RateLimiter.Instance.{Registry, Writer}
  alias RateLimiter.Limits.{Change, Document, Shared}
  alias RateLimiter.Redis.Client

  @lua __DIR__
  @meet_lua Path.join(@lua, "meet.lua")
  @commit_lua Path.join(@lua, "commit.lua")
  @reset_lua Path.join(@lua, "reset.lua")
  @external_resource @meet_lua
  @external_resource @commit_lua
  @external_resource @reset_lua
  # Comments are not sent.
  comment = ~r/^\s*--.*\n/m
  @meet Regex.replace(comment, File.read!(@meet_lua), "")
  @commit Regex.replace(comment, File.read!(@commit_lua), "")
  @reset Regex.replace(comment, File.read!(@reset_lua), "")

  @interval_ms 500
  @keep_ms 10_000
  @grace_ms 1_000

  # The largest number of a script.
  @most 0x1F_FFFF_FFFF_FFFF

  # Another node may commit a change at the same moment.
  @attempts 5

  @type argument :: %{
          instance: Instance.t(),
          prefix: String.t(),
          follows?: boolean
        }

  @doc false
  @spec start_link(argument) :: GenServer.on_start()
  def start_link(%{instance: %Instance{table: table}} = argument),
    do: GenServer.start_link(__MODULE__, argument, name: Registry.via({:cluster, table}))

  @doc "Makes limits known to all nodes, in addition to those that were or, with `nil`, in place of them."
  @spec change(Instance.t(), keyword | nil, String.t() | nil) :: :ok | {:error, String.t()}
  def change(instance, limits, by), do: call(instance, {:change, limits, by})

  @doc "Resets a limiter on all nodes."
  @spec reset(Instance.t(), atom) :: :ok | {:error, String.t()}
  def reset(instance, limiter), do: call(instance, {:reset, Atom.to_string(limiter)})

  defp call(%Instance{table: table} = instance, request),
    do: Registry.call!(instance, Registry.via({:cluster, table}), request)

  @impl true
  def init(%{instance: instance, prefix: prefix} = argument) do
    {:redis, store} = instance.store

    state = %{
      store: store,
      key: "#{prefix}:{limits}",
      label: Agreement.readable(instance.name),
      node: Base.encode16(:crypto.strong_rand_bytes(6), case: :lower)
    }

    {:ok, Map.merge(argument, state), {:continue, :meet}}
  end

  @impl true
  def handle_continue(:meet, state), do: handle_info(:meet, state)

  @impl true
  def handle_info(:meet, state) do
    Process.send_after(self(), :meet, @interval_ms)
    _in_an_outage = meet(state)
    {:noreply, state}
  end

  # A reply after its time.
  def handle_info(_late, state), do: {:noreply, state}

  @impl true
  def handle_call({:change, _limits, _by}, _from, %{follows?: false} = state) do
    reason = "expected :node, since a source states the limits of this instance, got: :cluster"
    {:reply, {:error, "scope: " <> reason}, state}
  end

  def handle_call({:change, limits, by}, _from, state),
    do: {:reply, change(state, limits, by, @attempts), state}

  def handle_call({:reset, limiter}, _from, state) do
    case command(state, ["EVAL", @reset, "1", state.key, limiter]) do
      {:ok, at} ->
        known = shared(state)
        resets = Map.put(known.resets, limiter, number(at))
        {:reply, learn(state, %{known | resets: resets}), state}

      {:error, reason} ->
        {:reply, {:error, reason}, state}
    end
  end

  defp change(_state, _limits, _by, 0),
    do: {:error, "scope: other nodes change limits at the same time, try again"}

  defp change(state, limits, by, attempts) do
    with :ok <- meet(state) do
      known = shared(state)
      all = if limits == nil, do: [], else: merge(known.limits, limits)
      change = %{known | revision: known.revision + 1, limits: all, by: by}

      case commit(state, change) do
        {:ok, 1} -> learn(state, change)
        {:ok, _other} -> change(state, limits, by, attempts - 1)
        {:error, reason} -> {:error, "scope: Redis has not taken the change: #{reason}"}
      end
    end
  end

  # Of each limiter that both name, the later windows beside the earlier ones.
  defp merge(before, limits) do
    Enum.reduce(limits, before, fn {name, options}, all ->
      Keyword.update(all, name, options, fn earlier ->
        windows = Keyword.merge(earlier[:windows], options[:windows])
        earlier |> Keyword.merge(options) |> Keyword.put(:windows, windows)
      end)
    end)
  end

  # Says what this node has, and takes up what others have changed.
  defp meet(%{instance: instance} = state) do
    resets = for {limiter, at} <- shared(state).resets, word <- [limiter, "#{at}"], do: word
    words = [state.node, Shared.version(instance), "#{@keep_ms}" | resets]

    case eval(state, @meet, words) do
      {:ok, [revision, limits, by, resets, versions]} ->
        met(state, {number(revision), limits, by}, times(resets), versions)

      {:error, reason} ->
        Shared.put(instance.table, %{shared(state) | problem: reason})
        {:error, "scope: Redis has not answered: #{reason}"}
    end
  end

  defp met(state, {revision, text, by}, resets, versions) do
    known = shared(state)
    now = %{known | resets: resets, versions: Enum.frequencies(versions), problem: nil}

    cond do
      revision < known.revision ->
        # The server has lost its data.
        _next_time = commit(state, known)
        learn(state, now)

      revision > known.revision and state.follows? ->
        learn(state, %{now | revision: revision, limits: limits(state, text), by: by(by)})

      true ->
        learn(state, now)
    end
  end

  defp limits(state, text) do
    with {:ok, limits} <- Document.limits(text, :json),
         {:ok, _steps} <- Change.steps(limits, [], :local) do
      limits
    else
      {:error, reasons} ->
        refused(state, List.wrap(reasons))
        []
    end
  end

  # Applied before it is recorded: after a kill in between, the successor applies it again, which changes nothing.
  defp learn(%{instance: %{table: table} = instance} = state, now) do
    if now.revision > shared(state).revision, do: apply!(state, now)
    Shared.put(table, now)

    for {name, handle, _config} <- Instance.all(instance),
        at = now.resets[Atom.to_string(name)],
        do: Store.set_generation(handle, at)

    :ok
  end

  defp apply!(%{instance: instance} = state, %{limits: limits, by: by}) do
    how = %{by: by, dry_run: false, max_denied: nil}

    with {:invalid, reasons} <- Writer.change!(instance, {:apply, limits, how}),
         do: refused(state, reasons)
  end

  defp refused(state, reasons),
    do: Telemetry.limits_refused(state.instance.name, state.key, reasons)

  defp shared(%{instance: %{table: table}}), do: Shared.get(table)

  defp commit(state, %{revision: revision, limits: limits, by: by}),
    do: eval(state, @commit, ["#{revision}", Document.json(limits), by || ""])

  defp by(""), do: nil
  defp by(by), do: by

  defp times([limiter, at | others]), do: Map.put(times(others), limiter, number(at))
  defp times([]), do: %{}

  # Another program may have written anything there.
  defp number(text) do
    case Integer.parse(text) do
      {number, ""} when number in 0..@most -> number
      _other -> 0
    end
  end

  defp eval(state, script, words),
    do: command(state, ["EVAL", script, "1", state.key, state.label | words])

  defp command(%{store: store, key: key}, words) do
    reference = make_ref()

    with {:sent, wait_ms} <- Client.command(store, reference, key, words) do
      receive do
        {^reference, {:ok, reply}} -> {:ok, reply}
        {^reference, {:error, failure}} -> {:error, text(failure)}
      after
        wait_ms + @grace_ms -> {:error, text(:lost)}
      end
    else
      failure -> {:error, text(failure)}
    end
  end

  defp text(message) when is_binary(message), do: message
  defp text(:full), do: "too many calls wait for it"
  defp text(:lost), do: "no reply in time"
  defp text(_away), do: "no connection"
end
