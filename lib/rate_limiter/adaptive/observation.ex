defmodule RateLimiter.Adaptive.Observation do
  @moduledoc """
  The observation of a subsystem since the last step of its law.

    * `limit` - the configured limit as a rate: the tightest that its windows sustain, per second
    * `elapsed_ms` - the time since the last step
    * `fresh` - finished work that began after the last cut, a `RateLimiter.Adaptive.Work`
    * `earlier` - finished work that began before the last cut, under the load before it
    * `asked` - calls that arrived, admitted or not
    * `denied` - calls that the subsystem's own limit denied
    * `guarded` - calls that were denied because too many were in flight
    * `in_flight` - calls that run now
    * `pain`, `pleasure` - present levels by source, each from 0.0 to 1.0
    * `signals` - other readings by name, for laws with options for them

  Denied calls are not work: `fresh` and `earlier` do not contain them.
  """

  alias RateLimiter.Adaptive.{Histogram, Work}
  alias RateLimiter.Core.Options

  defstruct limit: 0.0,
            elapsed_ms: 1_000,
            fresh: %Work{},
            earlier: %Work{},
            asked: 0,
            denied: 0,
            guarded: 0,
            in_flight: 0,
            pain: %{},
            pleasure: %{},
            signals: %{}

  @type level :: number
  @type levels :: %{optional(term) => level}
  @type t :: %__MODULE__{
          limit: number,
          elapsed_ms: number,
          fresh: Work.t(),
          earlier: Work.t(),
          asked: non_neg_integer,
          denied: non_neg_integer,
          guarded: non_neg_integer,
          in_flight: non_neg_integer,
          pain: levels,
          pleasure: levels,
          signals: %{optional(atom) => number}
        }

  @counts [:asked, :denied, :guarded, :in_flight]
  @work_counts [:ok, :errors, :timeouts, :rejected, :waited_us]
  # Above every real rate, count or duration. Larger numbers would overflow in a law's arithmetic.
  @max 1.0e15

  @doc """
  Returns the observation. Raises `ArgumentError` for numbers that are negative or not finite, or levels above 1.

  Every law of this library begins its step with this check.

      iex> RateLimiter.Adaptive.Observation.check!(%RateLimiter.Adaptive.Observation{limit: -1})
      ** (ArgumentError) observation: limit: expected a number from 0 to 1.0e15, got: -1
  """
  @spec check!(t) :: t
  def check!(%__MODULE__{} = observation) do
    for key <- [:limit, :elapsed_ms], do: number!(Map.fetch!(observation, key), key)
    for key <- @counts, do: count!(Map.fetch!(observation, key), key)
    for key <- [:fresh, :earlier], do: work!(Map.fetch!(observation, key), key)
    for key <- [:pain, :pleasure], do: levels!(Map.fetch!(observation, key), key)
    observation
  end

  defp number!(value, _name) when is_number(value) and value >= 0 and value <= @max, do: :ok
  defp number!(value, name), do: misuse!(name, "a number from 0 to #{@max}", value)

  defp count!(value, _name) when is_integer(value) and value >= 0 and value <= @max, do: :ok
  defp count!(value, name), do: misuse!(name, "an integer from 0 to #{@max}", value)

  defp work!(%Work{latency: latency} = work, name) do
    for key <- @work_counts, do: count!(Map.fetch!(work, key), "#{name}.#{key}")

    unless Histogram.valid?(latency),
      do: misuse!("#{name}.latency", "a #{inspect(Histogram)}", latency)
  end

  defp work!(other, name), do: misuse!(name, "a #{inspect(Work)}", other)

  defp levels!(levels, name) when is_map(levels) do
    Enum.each(levels, fn
      {_source, level} when is_number(level) and level >= 0 and level <= 1 ->
        :ok

      {source, level} ->
        misuse!("#{name} of #{Options.show(source)}", "a number from 0 to 1", level)
    end)
  end

  defp levels!(levels, name), do: misuse!(name, "a map from source to level", levels)

  defp misuse!(name, expected, got) do
    raise ArgumentError, "observation: #{name}: expected #{expected}, got: #{Options.show(got)}"
  end
end
