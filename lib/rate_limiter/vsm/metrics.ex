defmodule RateLimiter.VSM.Metrics do
  @moduledoc false
  # How the subsystems of an instance are now, from its table, its gates and its limiters: no process is asked.

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.Agreement.Status
  alias RateLimiter.Signals.Ledger
  alias RateLimiter.VSM.{Gate, Subsystem, Table, Tree}

  @spec all(Table.t()) :: %{atom => map}
  def all(table) do
    now = Table.now_ms(table)

    Map.new(Tree.all(table), fn {subsystem, own} ->
      {subsystem.name, one(table, subsystem, own, now)}
    end)
  end

  defp one(table, %Subsystem{name: name} = subsystem, own, now) do
    own
    |> Map.take([:parent, :floor, :ceiling, :dry_run])
    |> Map.merge(said(Table.get(table, {:decision, name})))
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

  defp said(nil), do: said(%Decision{scale: 1.0, stress: nil, action: nil})

  defp said(decision),
    do:
      decision
      |> Map.take([:stress, :binding, :action, :held_by, :sentence])
      |> Map.put(:asked_scale, decision.scale)

  defp signals(table, name, now) do
    pain = Ledger.entries(table, :pain, name, now)
    pleasure = Ledger.entries(table, :pleasure, name, now)

    %{
      pain: strongest(pain),
      pleasure: strongest(pleasure),
      sources: %{pain: by_source(pain), pleasure: by_source(pleasure)},
      contained: contained(Table.get(table, {:loop, name}))
    }
  end

  defp contained(%{contained: contained}), do: contained
  defp contained(nil), do: []

  defp strongest([]), do: 0.0
  defp strongest([%{level: level} | _weaker]), do: level

  defp by_source(entries), do: Map.new(entries, &{&1.source, &1.level})
end
