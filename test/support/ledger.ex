defmodule RateLimiter.Support.Ledger do
  @moduledoc false
  # The calls that several nodes admit together through one Redis while something happens to it, held against the contract.
  #
  # Every admitted call is written down with the moments between which it was decided. Afterwards each stretch of time is
  # held against what its window allows in as long. Nothing is sampled.

  alias RateLimiter.Support.{Nodes, Redis}
  alias RateLimiter.Support.Ledger.{Clerk, Curve, Fault, Hammer}

  @nodes 4
  @workers 4
  @keys 4
  @limit 100
  @burst 50

  # Each window with its contract, and with what a key of it can hold: that is what a fault's bound is counted in.
  @windows [
    bucket: [limit: @limit, per: :second, burst: @burst],
    sliding: [algorithm: :sliding_window, limit: @limit, per: :second],
    fixed: [algorithm: :fixed_window, limit: @limit, per: :second]
  ]
  @holds %{bucket: @burst, sliding: @limit, fixed: @limit}

  @answer_ms 120_000

  # Outages are this far apart.
  @apart_us 250_000

  @enforce_keys [
    :fault,
    :calls,
    :answered,
    :alone,
    :raised,
    :leftover,
    :longest_ms,
    :admitted,
    :allowed
  ]
  defstruct @enforce_keys ++ [:seconds, :over, :bound, :back, :opened_ms, :recovered_ms]

  @typedoc """
  A line of the ledger.

    * `calls`, `answered`, `raised` - made, and what became of them; `alone` of those answered were so without Redis
    * `leftover` - messages that were left in a caller's mailbox
    * `longest_ms` - the longest that a caller waited
    * `admitted`, `allowed` - by all nodes together, and what the contract allows in as long
    * `over` - of each window, by how much the worst stretch of the worst key was above its contract, and the `bound`
      that is promised, by outage: 0 where all answers came from Redis
    * `back` - what came back of usage that was reset or refunded before the fault, and calls that were charged again
      under the same request id, each with the most that is promised
    * `opened_ms` - from the fault's beginning until the last node's breaker was open; `nil` where none opened
    * `recovered_ms` - from the fault's end until the last answer without Redis; `nil` where there was none
  """
  @type t :: %__MODULE__{}

  @doc "What was asked of whom: for whoever prints the lines."
  @spec terms() :: map
  def terms, do: %{nodes: @nodes, workers: @workers, keys: @keys, limit: @limit, burst: @burst}

  @doc "The windows of every key, in the order in which they are told of."
  @spec windows() :: [atom]
  def windows, do: Keyword.keys(@windows)

  @doc "Starts the nodes that a ledger needs."
  @spec start_nodes!() :: [Nodes.t()]
  def start_nodes!, do: Nodes.start!(@nodes)

  @doc """
  The line of one fault. Options, in milliseconds:

    * `:calm` - how long all is well before
    * `:fault` - how long it lasts, where that is ours to say
    * `:settle` - how long the nodes go on when all answers come from Redis again
  """
  @spec line(Fault.t(), [Nodes.t()], keyword) :: t
  def line(%Fault{} = fault, nodes, times) do
    # In a process of its own, with which the servers end.
    fn -> play(fault, nodes, times) end |> Task.async() |> Task.await(:infinity)
  end

  defp play(fault, nodes, times) do
    scene = fault.prepare.()
    {late, early} = Enum.split(nodes, if(:join in fault.around, do: 1, else: 0))
    # A node that joins is not counted before.
    least = if late == [], do: length(nodes), else: 1
    store = scene |> fault.store.() |> Keyword.put(:nodes, least)

    from = now_us()
    for node <- early, do: start(node, store)
    lowered = lower(early)
    for node <- early, do: :ok = Nodes.call(node, Clerk, :call, [])
    Process.sleep(times[:calm])
    for node <- late, do: start(node, store)
    began = now_us()
    around = if :restart in fault.around, do: [restart_later(hd(nodes), times[:fault])], else: []
    fault.strike.(scene, times[:fault])
    Task.await_many(around, @answer_ms)
    ended = now_us()

    # Not before the nodes had the time to notice: what came in time was not yet an answer without Redis.
    Process.sleep(times[:settle])
    Redis.eventually(fn -> Enum.all?(nodes, &settled?/1) end)
    Process.sleep(times[:settle])
    back = back(fault, lowered, early, nodes)
    results = Enum.map(nodes, &finish/1)
    to = now_us()

    %{
      sum(fault, results, from: from, began: began, ended: ended, to: to)
      | back: back
    }
  end

  # All nodes have used of two keys, and then heard of it, before the first one resets and refunds them.
  defp lower([first | _] = nodes) do
    for node <- nodes, do: :ok = Nodes.call(node, Clerk, :use, [])
    before = look(nodes)
    {before, Nodes.call(first, Clerk, :lower, [before])}
  end

  defp back(fault, {before, lowered}, early, nodes) do
    names = early |> Enum.map(&Nodes.call(&1, Clerk, :stop, [])) |> Enum.reduce(&MapSet.union/2)
    names = MapSet.size(names)
    found = look(nodes)

    for {what, least, most} <- [
          {:reset, lowered.reset, before.reset},
          {:refunded, lowered.refunded, before.refunded},
          {:named, names, 2 * names}
        ],
        into: %{} do
      {what, {max(0, found[what] - least), if(what in fault.loses, do: most - least, else: 0)}}
    end
  end

  # Each node reports and restores what it knows before the last one looks.
  defp look(nodes), do: nodes |> Enum.map(&Nodes.call(&1, Clerk, :look, [])) |> List.last()

  defp start(node, store),
    do: :ok = Nodes.call(node, Hammer, :start, [instance(store), @workers, asked()], 180_000)

  defp restart_later(node, ms) do
    Task.async(fn ->
      Process.sleep(div(ms, 2))
      :ok = Nodes.call(node, Hammer, :restart, [], @answer_ms)
    end)
  end

  defp instance(store) do
    [
      store: {:redis, store},
      stats_interval: :infinity,
      limiters: [ledger: [windows: @windows, events: :none], kept: Clerk.limiter()]
    ]
  end

  # The windows and keys that a worker checks, one after the other.
  defp asked, do: for(key <- 1..@keys, window <- windows(), do: {window, key})

  defp settled?(node), do: Nodes.call(node, Hammer, :settled?, [])
  defp finish(node), do: Nodes.call(node, Hammer, :finish, [], 60_000)

  defp sum(fault, results, times) do
    admissions =
      results
      |> Enum.flat_map(& &1.admitted)
      |> Enum.group_by(&elem(&1, 0), &Tuple.delete_at(&1, 0))

    seconds = (times[:to] - times[:from]) / 1_000_000
    alone_at = Enum.flat_map(results, & &1.alone_at)
    bursts = fault.bursts * max(fault.least, outages(alone_at))

    %__MODULE__{
      fault: fault.name,
      calls: total(results, :calls),
      answered: total(results, :answered),
      alone: length(alone_at),
      raised: total(results, :raised),
      leftover: total(results, :leftover),
      longest_ms: (results |> Enum.map(& &1.longest_us) |> Enum.max()) / 1_000,
      admitted: admissions |> Map.values() |> Enum.map(&length/1) |> Enum.sum(),
      allowed:
        for(window <- windows(), do: contract(window).(times[:from], times[:to]))
        |> Enum.sum()
        |> Kernel.*(@keys),
      seconds: seconds,
      over: Map.new(windows(), &{&1, over(admissions, &1)}),
      bound: Map.new(@holds, fn {window, holds} -> {window, bursts * holds} end),
      opened_ms: since(times[:began], for(%{opened: [first | _]} <- results, do: first)),
      recovered_ms: since(times[:ended], for(at <- alone_at, at > times[:began], do: at))
    }
  end

  # A machine that stands still for a moment is one, too. While one lasts, somebody is answered without Redis all the time.
  defp outages([]), do: 0

  defp outages(alone_at) do
    sorted = Enum.sort(alone_at)
    gaps = Enum.zip_with(sorted, tl(sorted), fn one, next -> next - one end)
    1 + Enum.count(gaps, &(&1 > @apart_us))
  end

  defp over(admissions, window) do
    excess = for {{^window, _key}, spans} <- admissions, do: Curve.excess(spans, contract(window))
    Enum.max(excess, fn -> 0 end)
  end

  defp contract(:bucket), do: Curve.bucket(@burst, @limit)
  defp contract(:sliding), do: Curve.sliding(@limit)
  defp contract(:fixed), do: Curve.fixed(@limit)

  defp total(results, field), do: results |> Enum.map(&Map.fetch!(&1, field)) |> Enum.sum()

  defp since(_moment, []), do: nil
  defp since(moment, times), do: max(0, div(Enum.max(times) - moment, 1_000))

  defp now_us, do: System.os_time(:microsecond)
end
