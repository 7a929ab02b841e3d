defmodule RateLimiter.VSM.Metrics do
  @moduledoc false
  # The present state of an instance's subsystems, read from its table, gates and limiters without calling a process.

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Agreement.Status
  alias RateLimiter.Signals.Ledger
  alias RateLimiter.VSM.{Gate, Subsystem, Table, Tree}

  @spec all(Table.t()) :: %{atom => map}
  def all(table) do
    now = Table.now_ms(table)

    for {subsystem, config} <- Tree.all(table), into: %{} do
      {subsystem.name, metrics(table, subsystem, config, now)}
    end
  end

  defp metrics(table, %Subsystem{name: name} = subsystem, config, now) do
    config
    |> Map.take([:parent, :floor, :ceiling, :dry_run])
    |> Map.merge(decision(Table.get(table, {:decision, name})))
    |> Map.merge(Gate.counts(subsystem.gate))
    |> Map.merge(signals(table, name, now))
    |> Map.merge(%{
      scale: Gate.scale(subsystem.limiter),
      own_scale: Subsystem.scale(subsystem),
      demand: Subsystem.demand(subsystem),
      usage: Gate.usage(subsystem),
      agreement: Status.describe(table, name),
      emergencies: Table.get(table, {:granted, name}, 0)
    })
  end

  defp decision(nil), do: decision(%Decision{scale: 1.0, stress: nil, action: nil})

  defp decision(decision) do
    decision
    |> Map.take([:stress, :binding, :action, :held_by, :sentence])
    |> Map.put(:asked_scale, decision.scale)
  end

  defp signals(table, name, now) do
    pain = Ledger.entries(table, :pain, name, now)
    pleasure = Ledger.entries(table, :pleasure, name, now)

    %{
      pain: strongest(pain),
      pleasure: strongest(pleasure),
      sources: %{pain: by_source(pain), pleasure: by_source(pleasure)},
      contained: Table.get(table, {:loop, name}, %{contained: []}).contained
    }
  end

  defp strongest([]), do: 0.0
  defp strongest([%{level: level} | _weaker]), do: level

  defp by_source(entries), do: Map.new(entries, &{&1.source, &1.level})
end
