defmodule RateLimiter.VSM.Scales do
  @moduledoc false
  # From each law's own scale to the scale of a limit: the minimum of a subsystem and all its ancestors.
  #
  # A parent whose limit is one capacity does not shrink its children alike: it divides the capacity by priority.

  alias RateLimiter.Adaptive.Shares
  alias RateLimiter.VSM.{Gate, Subsystem, Table, Tree}

  @doc "Returns the scale that a subsystem's limit should have now."
  @spec effective(Table.t(), Subsystem.t()) :: float
  def effective(table, subsystem) do
    own = Subsystem.scale(subsystem)

    case Tree.parent(table, subsystem.name) do
      nil -> own
      parent -> min(own, of_parent(table, parent, subsystem))
    end
  end

  @doc "Puts the scales of a subsystem and of its whole subtree on their limits."
  @spec apply(Table.t(), Subsystem.t()) :: :ok
  def apply(table, subsystem) do
    if Table.config(table, subsystem.name).shared, do: share(table, subsystem)
    Gate.set_scale(subsystem.limiter, effective(table, subsystem))

    for {child, _config} <- Tree.children(table, subsystem.name),
        do: __MODULE__.apply(table, child)

    :ok
  end

  @doc "Returns one node's part of a guard that nodes have agreed on."
  @spec part(pos_integer | :infinity, pos_integer) :: pos_integer | :infinity
  def part(:infinity, _nodes), do: :infinity
  def part(guard, nodes), do: max(1, div(guard, nodes))

  @doc """
  Returns the share of calls that each gate admits, so that the node admits `scale` of all calls.

  A gate without demand takes nothing from the others. It is open as long as a gate of a lower priority can give way.
  """
  @spec gates([{Subsystem.t(), map}], float) :: [{RateLimiter.Core.Native.gate(), float}]
  def gates(members, scale) do
    asked = for {subsystem, config} <- members, do: min(Subsystem.demand(subsystem), config.rate)
    shares = divide(members, scale * Enum.sum(asked))

    open =
      for {{subsystem, config}, asked} <- Enum.zip(members, asked) do
        admitted = shares[subsystem.name] * config.rate
        {subsystem.gate, config.priority, if(asked > 0, do: min(1.0, admitted / asked))}
      end

    for {gate, priority, share} <- open do
      lower? = Enum.any?(open, fn {_gate, other, share} -> other < priority and share != 0 end)
      {gate, share || if(lower?, do: 1.0, else: scale)}
    end
  end

  defp of_parent(table, parent, subsystem) do
    if Table.config(table, parent.name).shared,
      do: Subsystem.share(subsystem),
      else: effective(table, parent)
  end

  defp share(table, parent) do
    children = Tree.children(table, parent.name)
    claims = claims(children)
    capacity = Table.config(table, parent.name).rate * effective(table, parent)
    rates = Shares.divide(claims, capacity)
    shares = shares(children, rates)

    for {child, _config} <- children, do: Subsystem.put_share(child, shares[child.name])
    set_rooms(children, claims, rates, Gate.counts(parent.gate).guard)
  end

  # Work in flight counts for all children together. Less important ones stop earlier, so that there is room left for
  # more important ones.
  defp set_rooms(children, _claims, _rates, :infinity),
    do: for({child, _config} <- children, do: Gate.set_room(child.gate, :infinity))

  defp set_rooms(children, claims, rates, guard) do
    rooms = Shares.guards(claims, rates, guard)
    for {child, _config} <- children, do: Gate.set_room(child.gate, max(1, rooms[child.name]))
  end

  # Which part of its limit each gets of a capacity in calls per second.
  defp divide(members, capacity),
    do: shares(members, members |> claims() |> Shares.divide(capacity))

  defp shares(members, rates) do
    Map.new(members, fn {%{name: name}, config} ->
      {name, min(config.ceiling, rates[name] / config.rate)}
    end)
  end

  defp claims(members) do
    Map.new(members, fn {subsystem, config} ->
      {subsystem.name,
       %{
         limit: config.rate,
         floor: config.rate * config.floor,
         demand: Subsystem.need(subsystem),
         priority: config.priority,
         weight: config.weight
       }}
    end)
  end
end
