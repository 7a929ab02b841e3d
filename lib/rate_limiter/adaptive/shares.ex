defmodule RateLimiter.Adaptive.Shares do
  @moduledoc false
  # The division of one capacity among subsystems by priority: important subsystems get all that they need, instead of
  # each a little less.
  #
  # First, each subsystem gets its floor. Then, from the highest priority down, each gets its demand, with some reserve
  # and up to its limit. The rest is divided by weight.

  # Measured demand comes in bursts, which are larger relative to a small demand.
  @spare 1.2
  @bursts 2

  @type claim :: %{
          limit: number,
          floor: number,
          demand: number,
          priority: integer,
          weight: number
        }

  @doc """
  Returns each subsystem's part of a capacity, in calls per second as the claims: at most its limit, and in total at most
  the capacity.

      iex> claim = %{limit: 100, floor: 0, demand: 100, priority: 0, weight: 1}
      iex> claims = %{s1: claim, s5: %{claim | priority: 5, demand: 16}}
      iex> RateLimiter.Adaptive.Shares.divide(claims, 50)
      %{s1: 22.8, s5: 27.2}
  """
  @spec divide(Enumerable.t(), number) :: %{optional(term) => float}
  def divide(claims, capacity) do
    claims = Map.new(claims)
    nothing = Map.new(claims, fn {name, _claim} -> {name, 0.0} end)

    {shares, left} =
      Enum.reduce([&least/1, &need/1], {nothing, capacity * 1.0}, fn wants, given ->
        claims |> by_priority() |> Enum.reduce(given, &fill(&1, wants, &2))
      end)

    {shares, _left} = fill(claims, &(&1.limit * 1.0), {shares, left})
    shares
  end

  @doc """
  Returns up to how many calls in flight, of all subsystems together, each may still admit calls, so that there is
  room left for more important ones.

      iex> claim = %{limit: 100, floor: 0, demand: 100, priority: 0, weight: 1}
      iex> claims = %{s1: claim, s5: %{claim | priority: 5}}
      iex> RateLimiter.Adaptive.Shares.guards(claims, %{s1: 30.0, s5: 10.0}, 20)
      %{s1: 11, s5: 20}
  """
  @spec guards(Enumerable.t(), %{optional(term) => number}, pos_integer) :: %{
          optional(term) => pos_integer
        }
  def guards(claims, shares, in_flight) do
    all = max(1.0e-9, shares |> Map.values() |> Enum.sum())

    for {name, claim} <- claims, into: %{} do
      above =
        for {other, %{priority: priority}} <- claims, priority > claim.priority, do: shares[other]

      kept = in_flight * Enum.sum(above) / all
      {name, max(1, round(in_flight - kept - @bursts * :math.sqrt(kept)))}
    end
  end

  defp least(claim), do: min(claim.floor, claim.limit) * 1.0

  defp need(%{demand: demand, limit: limit}),
    do: min(limit, @spare * demand + @bursts * :math.sqrt(demand)) * 1.0

  defp by_priority(claims) do
    claims
    |> Enum.group_by(fn {_name, claim} -> claim.priority end)
    |> Enum.sort(:desc)
    |> Enum.map(fn {_priority, group} -> group end)
  end

  # A subsystem that wants less than its part leaves the rest to the others, until all are satisfied or nothing is left.
  defp fill(group, wants, {shares, left}) do
    wanting =
      for {name, claim} <- group,
          missing = wants.(claim) - shares[name],
          missing > 0,
          do: {name, missing, claim.weight}

    weights = wanting |> Enum.map(&elem(&1, 2)) |> Enum.sum()

    cond do
      wanting == [] or left <= 0 ->
        {shares, left}

      Enum.any?(wanting, &small?(&1, left, weights)) ->
        paid = Enum.filter(wanting, &small?(&1, left, weights))
        fill(group, wants, Enum.reduce(paid, {shares, left}, &pay/2))

      true ->
        parts =
          for {name, _missing, weight} <- wanting, do: {name, left * weight / weights, weight}

        {shares, _rounding} = Enum.reduce(parts, {shares, left}, &pay/2)
        {shares, 0.0}
    end
  end

  defp small?({_name, missing, weight}, left, weights), do: missing <= left * weight / weights

  defp pay({name, amount, _weight}, {shares, left}),
    do: {Map.update!(shares, name, &(&1 + amount)), left - amount}
end
