defmodule RateLimiter.Adaptive.Stress do
  @moduledoc false
  # Readings of any unit as stress from 0 to 1. A curve is `{ok, warn, crit}`: stress is 0 up to `ok`, 0.5 at `warn` and
  # 1 from `crit` on, and linear between them.

  @type curve :: {number, number, number}
  @type readings :: %{optional(term) => number | nil}

  @doc """
  Returns the stress of one reading.

      iex> Enum.map([0, 2, 2.5, 4, 6, 100], &RateLimiter.Adaptive.Stress.level(&1, {1, 4, 8}))
      [0.0, 0.16666666666666666, 0.25, 0.5, 0.75, 1.0]
  """
  @spec level(number, curve) :: float
  def level(value, {ok, _warn, _crit}) when value <= ok, do: 0.0
  def level(value, {_ok, _warn, crit}) when value >= crit, do: 1.0

  def level(value, {ok, warn, _crit}) when value <= warn,
    do: 0.5 * (value - ok) / (warn - ok)

  def level(value, {_ok, warn, crit}), do: 0.5 + 0.5 * (value - warn) / (crit - warn)

  @doc """
  Returns the greatest stress and the name of its reading, which explains it. Ignores `nil` and readings without a curve.

      iex> curves = %{memory: {0.7, 0.8, 0.92}, run_queue: {1, 4, 8}}
      iex> RateLimiter.Adaptive.Stress.greatest(%{memory: 0.8, run_queue: 2, mailboxes: nil}, curves)
      {0.5, :memory}

      iex> RateLimiter.Adaptive.Stress.greatest(%{memory: 0.1}, %{memory: {0.7, 0.8, 0.92}})
      {0.0, nil}
  """
  @spec greatest(readings, %{optional(term) => curve}) :: {float, term | nil}
  def greatest(readings, curves) do
    levels =
      for {name, value} <- readings, is_number(value), curve = curves[name] do
        {level(value, curve), name}
      end

    # The maximum of pairs does not depend on the order of the map.
    case Enum.max(levels, fn -> {0.0, nil} end) do
      {level, _name} when level == 0 -> {0.0, nil}
      greatest -> greatest
    end
  end
end
