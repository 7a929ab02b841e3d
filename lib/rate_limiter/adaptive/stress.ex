defmodule RateLimiter.Adaptive.Stress do
  @moduledoc """
  Readings of any unit as stress from 0 to 1: by three points, linear between them, and the greatest wins.

  A curve is `{ok, warn, crit}`: stress is 0 up to `ok`, 0.5 at `warn`, and 1 from `crit` on. A reading that is
  missing (`nil`) is no opinion, and so is one without a curve. The reading with the greatest stress is the binding
  one: it is the explanation.
  """

  @type curve :: {number, number, number}
  @type readings :: %{optional(term) => number | nil}

  # The scale hears what the work says of itself, and the pain that is told.
  @scale %{queue: {0.5, 1.25, 2.0}, errors: {0.02, 0.135, 0.25}}

  # The gate hears this BEAM alone.
  @gate %{
    schedulers: {0.80, 0.90, 0.98},
    run_queue: {1, 4, 8},
    timer_ms: {5, 20, 100},
    memory: {0.70, 0.80, 0.92},
    mailbox: {100, 1_000, 10_000}
  }

  @doc "The curves of the signals that the scale hears."
  @spec scale_curves() :: %{atom => curve}
  def scale_curves, do: @scale

  @doc "The curves of the signals that the local gate hears."
  @spec gate_curves() :: %{atom => curve}
  def gate_curves, do: @gate

  @doc """
  The stress of one reading.

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
  The greatest stress among readings, and whose it is.

      iex> curves = %{memory: {0.7, 0.8, 0.92}, run_queue: {1, 4, 8}}
      iex> RateLimiter.Adaptive.Stress.greatest(%{memory: 0.8, run_queue: 2, mailbox: nil}, curves)
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

    # Of equals always the same one, whatever the order of a map.
    case Enum.max(levels, fn -> {0.0, nil} end) do
      {level, _name} when level == 0 -> {0.0, nil}
      greatest -> greatest
    end
  end
end
