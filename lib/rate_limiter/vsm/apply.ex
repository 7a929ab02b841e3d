defmodule RateLimiter.VSM.Apply do
  @moduledoc false
  # How a decision takes effect: the scale on limits, the guard on the gate. A dry run only records it.

  alias RateLimiter.Adaptive.Decision
  alias RateLimiter.VSM.{Explain, Gate, Loop, Scales, Subsystem, Table}

  @doc "Applies a decision of the subsystem's own law, and explains it."
  @spec decision(Loop.t(), Decision.t()) :: Loop.t()
  def decision(%{subsystem: subsystem} = loop, decision) do
    from = Subsystem.scale(subsystem)
    put(loop, decision, cut?: decision.action == :cut)
    if decision.news?, do: Explain.decision(loop, decision, decision.from || from)

    %{loop | hopeless: decision.escalate?}
  end

  @doc "Puts a decision on the subsystem. With `cut?`, work that began before now counts as earlier work."
  @spec put(Loop.t(), Decision.t(), cut?: boolean) :: :ok
  def put(%{subsystem: %{table: table, name: name} = subsystem} = loop, decision, cut?: cut?) do
    unless loop.config.dry_run do
      Subsystem.put_scale(subsystem, decision.scale)
      # Before the scales: children of a shared capacity divide the guard, too.
      put_guard(loop, decision.guard)
      Scales.apply(table, subsystem)
      if cut?, do: Gate.cut(subsystem.gate)
    end

    Table.put(table, {:decision, name}, decision)
  end

  @doc "Puts a guard on the subsystem's gate. Children of a shared capacity get their part by `Scales.apply/2`."
  @spec put_guard(Loop.t(), pos_integer | :infinity) :: :ok
  def put_guard(%{config: %{dry_run: true}}, _guard), do: :ok
  def put_guard(%{subsystem: subsystem}, guard), do: Gate.set_guard(subsystem.gate, guard)
end
