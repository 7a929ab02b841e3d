defmodule RateLimiter.VSM.Observe do
  @moduledoc false
  # The observations of a control loop: finished work and counts of the gate, pain and pleasure, demand and usual
  # durations; and pain that the law did not resolve, which goes to the parent.

  alias RateLimiter.Adaptive.{Histogram, Observation, Work}
  alias RateLimiter.Algedonic
  alias RateLimiter.Signals.{Containment, Ledger}
  alias RateLimiter.VSM.{Explain, Gate, Loop, Subsystem, Table, Tree}

  @type seen :: %{now: integer, observation: Observation.t(), pain: [map], level: float}

  @suffers 0.5
  @relieved 0.25
  @calm 0.1
  @inaudible 0.01

  # How long a verdict about reported work is valid.
  @verdict_ms 10_000

  # Weight of a new measure of demand (per second) and of durations (per look).
  @weight 0.3

  # Time constant of the usual demand.
  @usual_demand_ms 10_000

  @doc "Returns what happened since the last look. Decides nothing."
  @spec look(Loop.t()) :: {Loop.t(), seen}
  def look(%{subsystem: %Subsystem{table: table, name: name} = subsystem} = loop) do
    now = Table.now_ms(table)
    Ledger.purge(table, name, now)
    {work, counts} = {Gate.drain(subsystem.gate), Gate.counts(subsystem.gate)}
    pain = Ledger.entries(table, :pain, name, now)
    loop = judge(loop, work, now)
    {levels, contained} = contain(loop, pain, now)
    observation = observation(loop, work, counts, levels, now)

    for %{source: source} = entry <- contained,
        source not in loop.contained,
        do: Explain.contained(loop, entry)

    loop = %{loop | contained: Enum.map(contained, & &1.source), at_ms: now, counts: counts}
    {loop, %{now: now, observation: observation, pain: pain, level: strongest(levels)}}
  end

  @doc "Updates what belongs to this node alone, no matter which node decides: averages, alarms, escalation."
  @spec reflect(Loop.t(), seen) :: Loop.t()
  def reflect(%{subsystem: subsystem} = loop, seen) do
    %{observation: observation, pain: pain, level: level, now: now} = seen
    loop = loop |> learn(observation) |> suffer(pain, level, now) |> Explain.measure_failures(now)
    Algedonic.settle(subsystem, :pain, level)
    Algedonic.settle(subsystem, :pleasure, strongest(observation.pleasure))
    Loop.keep(loop)
  end

  defp contain(loop, pain, now) do
    %{stuck_after: stuck_after} = Table.config(loop.subsystem.table)
    {well?, at_ms} = loop.well
    Containment.levels(pain, stuck_after, well? and now - at_ms <= @verdict_ms, now)
  end

  # A verdict needs some work, which may take several looks.
  defp judge(loop, {fresh, earlier}, now) do
    work = loop.unjudged |> Work.add(fresh) |> Work.add(earlier)

    if Containment.enough?(work),
      do: %{loop | unjudged: %Work{}, well: {Containment.well?(work, loop.calm_ms), now}},
      else: %{loop | unjudged: work}
  end

  defp observation(loop, {fresh, earlier}, counts, pain, now) do
    %{subsystem: %{table: table, name: name}, config: config, counts: before} = loop
    pleasure = Ledger.entries(table, :pleasure, name, now)

    %Observation{
      limit: config.rate,
      elapsed_ms: max(now - loop.at_ms, 1),
      fresh: fresh,
      earlier: earlier,
      asked: counts.asked - before.asked,
      denied: counts.denied - before.denied,
      guarded: counts.guarded - before.guarded,
      in_flight: counts.in_flight,
      pain: audible(pain),
      pleasure: pleasure |> Map.new(&{&1.source, &1.level}) |> audible()
    }
  end

  # A level of 0 is not pain.
  defp audible(levels), do: Map.reject(levels, fn {_source, level} -> level < @inaudible end)

  ## Averages

  defp learn(%{subsystem: subsystem} = loop, %{elapsed_ms: ms} = observation) do
    demand = observation.asked * 1_000 / ms

    # Weighted by time: three calls in the moment before an urgent step are not a thousand a second.
    smoothed =
      demand + (Subsystem.demand(subsystem) - demand) * :math.pow(1 - @weight, ms / 1_000)

    usual = demand + (loop.usual_demand - demand) * :math.exp(-ms / @usual_demand_ms)
    Subsystem.put_demand(subsystem, smoothed)
    Subsystem.put_need(subsystem, max(smoothed, need(usual)))
    loop = %{loop | usual_demand: usual}

    case Histogram.mean(observation.fresh.latency) do
      nil -> loop
      mean -> learn_durations(loop, observation, mean)
    end
  end

  # The demand to be ready for. Calls arrive at random: after a span with so many calls, the next one may well have so
  # many more. A subsystem that is rarely called, such as an emergency stop, is therefore never taken for unused.
  defp need(usual) do
    span = @usual_demand_ms / 1_000
    calls = usual * span
    (calls + 2 * :math.sqrt(calls) + 1) / span
  end

  defp learn_durations(%{subsystem: subsystem} = loop, observation, mean) do
    Subsystem.put_mean_ms(subsystem, toward(Subsystem.mean_ms(subsystem) || mean, mean))

    if strongest(observation.pain) < @calm and loop.contained == [] do
      p25 = Histogram.quantile(observation.fresh.latency, 0.25)
      %{loop | calm_ms: toward(loop.calm_ms || p25, p25)}
    else
      loop
    end
  end

  defp toward(old, new), do: old + @weight * (new - old)

  ## Escalation of pain that the law did not resolve in time

  defp suffer(loop, pain, level, now) do
    stated = Enum.find(pain, &(&1.level >= @relieved))
    since = loop.suffering_ms

    cond do
      loop.hopeless -> escalate(%{loop | suffering_ms: since || now}, level, stated, now)
      level >= @suffers and since == nil -> %{loop | suffering_ms: now}
      level < @relieved and loop.contained == [] -> %{loop | suffering_ms: nil, escalated_ms: nil}
      since != nil and now - since >= loop.config.patience -> escalate(loop, level, stated, now)
      true -> loop
    end
  end

  # One escalation per patience. In between, the parent's pain is kept from fading.
  defp escalate(%{escalated_ms: last, config: %{patience: patience}} = loop, level, _entry, now)
       when last != nil and now - last < patience do
    with %Subsystem{} = parent <- Tree.parent(loop.subsystem.table, loop.subsystem.name),
         do: Ledger.put(parent, :pain, {:child, loop.subsystem.name}, level, "not resolved")

    loop
  end

  defp escalate(loop, level, entry, now) do
    level = if entry, do: max(level, entry.level), else: level
    Algedonic.escalate(loop.subsystem, level, entry, Explain.unresolved(loop, level, now))
    %{loop | escalated_ms: now}
  end

  defp strongest(levels), do: levels |> Map.values() |> Enum.max(fn -> 0.0 end)
end
