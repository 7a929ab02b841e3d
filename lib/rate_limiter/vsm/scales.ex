defmodule RateLimiter.VSM.Scales do
  @moduledoc false
  # From each law's own scale to the one that is on a limit: the least of a subsystem's own and of all that it is part of.
  #
  # A parent whose limit is one capacity does not shrink its children alike: it shares what it has by priority.

  alias RateLimiter.Adaptive.Shares
  alias RateLimiter.VSM.{Gate, Subsystem, Table, Tree}

  @doc "The scale that a subsystem's limit has by rights now."
  @spec effective(Table.t(), Subsystem.t()) :: float
  def effective(table, %Subsystem{} = subsystem) do
    own = Subsystem.scale(subsystem)

    case Tree.parent(table, subsystem.name) do
      nil -> own
      parent -> min(own, above(table, parent, subsystem))
    end
  end

  @doc "Puts the scales of a subsystem, and of all below it, on their limits."
  @spec apply(Table.t(), Subsystem.t()) :: :ok
  def apply(table, subsystem) do
    if Table.config(table, subsystem.name).shared, do: share(table, subsystem)
    Gate.set_scale(subsystem.limiter, effective(table, subsystem))
    for {child, _own} <- Tree.children(table, subsystem.name), do: __MODULE__.apply(table, child)
    :ok
  end

  defp above(table, parent, subsystem) do
    if Table.config(table, parent.name).shared,
      do: Subsystem.share(subsystem),
      else: effective(table, parent)
  end

  defp share(table, parent) do
    children = Tree.children(table, parent.name)
    capacity = Table.config(table, parent.name).rate * effective(table, parent)
    claims = claims(children)
    shares = Shares.divide(claims, capacity)

    for {child, share} <- parts(children, shares), do: Subsystem.put_share(child, share)
    keep_room(children, claims, shares, Gate.counts(parent.gate).guard)
  end

  # What is at work counts in all, and those who matter more find a place when the others have taken theirs.
  defp keep_room(children, _claims, _shares, :infinity),
    do: for({child, _own} <- children, do: Gate.set_room(child.gate, :infinity))

  defp keep_room(children, claims, shares, guard) do
    rooms = Shares.guards(claims, shares, guard)
    for {child, _own} <- children, do: Gate.set_room(child.gate, max(1, rooms[child.name]))
  end

  @doc "What share of its calls each may pass where this node lets `scale` of all that is asked go on."
  @spec gates([{Subsystem.t(), map}], float) :: [{RateLimiter.Core.Native.gate(), float}]
  def gates(members, scale) do
    asked =
      Map.new(members, fn {subsystem, own} ->
        {subsystem.name, min(Subsystem.demand(subsystem), own.rate)}
      end)

    passing = scale * (asked |> Map.values() |> Enum.sum())

    for {subsystem, share} <- divide(members, passing) do
      asked = asked[subsystem.name]
      own = Enum.find_value(members, fn {member, own} -> if member == subsystem, do: own end)
      {subsystem.gate, if(asked > 0, do: min(1.0, share * own.rate / asked), else: scale)}
    end
  end

  @doc "What part of its limit each may have of a capacity, in calls a second."
  @spec divide([{Subsystem.t(), map}], number) :: [{Subsystem.t(), float}]
  def divide(members, capacity) do
    shares = members |> claims() |> Shares.divide(capacity)
    parts(members, shares)
  end

  defp claims(members),
    do: Map.new(members, fn {subsystem, own} -> {subsystem.name, claim(subsystem, own)} end)

  defp parts(members, shares) do
    for {subsystem, own} <- members,
        do: {subsystem, min(own.ceiling, shares[subsystem.name] / own.rate)}
  end

  defp claim(subsystem, own) do
    %{
      limit: own.rate,
      floor: own.rate * own.floor,
      demand: Subsystem.need(subsystem),
      priority: own.priority,
      weight: own.weight
    }
  end
end
