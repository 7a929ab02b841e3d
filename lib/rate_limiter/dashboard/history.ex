defmodule RateLimiter.Dashboard.History do
  @moduledoc false
  # What a node did in the last minutes: a snapshot every two seconds, of which the counts are kept.
  #
  # The limiters keep no history. This process reads nothing before a page is asked for, and forgets everything when
  # none was for some minutes.

  use GenServer

  alias RateLimiter.Top.{Figures, Snapshot}

  @interval_ms 2_000
  @most_samples 150
  @idle_ms 600_000
  # With more limiters, those that were denied most have a history, and are shown.
  @most_kept 500
  @most_shown 100

  @typedoc "Calls per second that were admitted and denied between two readings, `nil` if it is not known."
  @type point :: {admitted :: non_neg_integer, denied :: non_neg_integer} | nil

  @typedoc """
  A node as a page shows it. Instances and limiters are those of `RateLimiter.Top.Figures`, each with its `:history`, the
  oldest point first. `:ages` are the seconds since the end of each point. `:hidden` is the number of limiters that are
  left out.
  """
  @type view :: %{
          node: node,
          date: DateTime.t(),
          problem: String.t() | nil,
          ages: [float],
          instances: [map]
        }

  @doc "Starts a history of the node that `:read` reads, with the option `:name`. Readings are `:interval_ms` apart."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    {name, options} = Keyword.split(options, [:name])
    GenServer.start_link(__MODULE__, options, name)
  end

  @doc "Returns the node as it is now, or why it was never read."
  @spec view(GenServer.server()) :: {:ok, view} | {:error, String.t()}
  def view(history), do: GenServer.call(history, :view, 15_000)

  @impl true
  def init(options) do
    {:ok,
     dormant(%{
       read: Keyword.get(options, :read, &Snapshot.take/0),
       interval_ms: Keyword.get(options, :interval_ms, @interval_ms),
       idle_ms: Keyword.get(options, :idle_ms, @idle_ms)
     })}
  end

  defp dormant(state) do
    state
    |> Map.take([:read, :interval_ms, :idle_ms])
    |> Map.merge(%{now: nil, before: nil, samples: [], problem: nil, seen_ms: nil})
  end

  @impl true
  def handle_call(:view, _from, state) do
    state = if state.seen_ms, do: state, else: state |> read() |> schedule()
    state = %{state | seen_ms: now_ms()}
    {:reply, shown(state), state}
  end

  @impl true
  def handle_info(:read, state) do
    if now_ms() - state.seen_ms > state.idle_ms,
      do: {:noreply, dormant(state), :hibernate},
      else: {:noreply, state |> read() |> schedule()}
  end

  defp schedule(state) do
    Process.send_after(self(), :read, state.interval_ms)
    state
  end

  defp now_ms, do: System.monotonic_time(:millisecond)

  ## Readings

  # A node that does not reply is shown as it was, with the problem.
  defp read(state) do
    case state.read.() do
      {:error, problem} -> %{state | problem: problem}
      now -> keep(state, now)
    end
  end

  defp keep(state, now) do
    samples = Enum.take([{now.at_ms, counts(now)} | state.samples], @most_samples)
    %{state | now: now, before: state.now, samples: samples, problem: nil}
  end

  defp counts(snapshot) do
    for instance <- snapshot.instances, {key, counts} <- instance_counts(instance), into: %{} do
      {{instance.name, key}, counts}
    end
  end

  defp instance_counts(%{limiters: limiters}) do
    counts = for limiter <- limiters, do: {limiter.name, {limiter.checks, limiter.denials}}
    checks = limiters |> Enum.map(& &1.checks) |> Enum.sum()
    denials = limiters |> Enum.map(& &1.denials) |> Enum.sum()
    kept = counts |> Enum.sort_by(fn {_name, {all, denied}} -> {-denied, -all} end)

    [
      {:all, {checks, denials}}
      | for({name, counts} <- Enum.take(kept, @most_kept), do: {{:limiter, name}, counts})
    ]
  end

  ## The view

  defp shown(%{now: nil, problem: problem}), do: {:error, problem}

  defp shown(%{now: now, samples: [{latest_ms, _counts} | _] = samples} = state) do
    # Without an earlier snapshot there are no rates.
    before = state.before || %{now | instances: []}
    samples = Enum.reverse(samples)

    {:ok,
     %{
       node: now.node,
       date: now.date,
       problem: state.problem,
       ages: for({at_ms, _counts} <- tl(samples), do: (latest_ms - at_ms) / 1_000),
       instances: for(instance <- Figures.instances(now, before), do: shown(instance, samples))
     }}
  end

  defp shown(instance, samples) do
    {shown, hidden} = Enum.split(instance.limiters, @most_shown)

    limiters =
      for limiter <- shown,
          do:
            Map.put(limiter, :history, points(samples, {instance.name, {:limiter, limiter.name}}))

    Map.merge(instance, %{
      limiters: limiters,
      hidden: length(hidden),
      history: points(samples, {instance.name, :all})
    })
  end

  defp points(samples, key) do
    for [{old_ms, old}, {new_ms, new}] <- Enum.chunk_every(samples, 2, 1, :discard),
        do: point(old[key], new[key], max(new_ms - old_ms, 1) / 1_000)
  end

  # A limiter that was removed and added again counts from zero.
  defp point({checks, denials}, {new_checks, new_denials}, seconds)
       when new_checks >= checks and new_denials >= denials do
    denied = new_denials - denials
    {round(max(new_checks - checks - denied, 0) / seconds), round(denied / seconds)}
  end

  defp point(_old, _new, _seconds), do: nil
end
