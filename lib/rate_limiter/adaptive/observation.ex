defmodule RateLimiter.Adaptive.Observation do
  @moduledoc """
  What was seen of a subsystem since the last step of its law.

    * `limit` - the limit as configured, as a rate: the tightest that its windows sustain, per second
    * `elapsed_ms` - how long ago the last step was
    * `fresh` - finished work that began after the last cut
    * `earlier` - finished work that began before the last cut, and tells of the load that was cut
    * `asked` - calls that asked to be let in, allowed or not
    * `denied` - of these, denied by the subsystem's own limit
    * `guarded` - of these, denied because too much was in flight
    * `in_flight` - calls running now
    * `pain`, `pleasure` - by source, each from 0.0 to 1.0, as they stand now
    * `signals` - other readings by name, for laws with options for them

  Own denials are no work: they are in `denied`, and never in `fresh` or `earlier`. Numbers that are no numbers,
  negative or not finite are refused by `check!/1`, which every law of this library begins with.
  """

  alias RateLimiter.Adaptive.Work

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
  # No real rate, count or duration comes near; what does would only overflow the arithmetic behind it.
  @huge 1.0e15

  @doc """
  The observation as it is, if every number in it can be one.

      iex> RateLimiter.Adaptive.Observation.check!(%RateLimiter.Adaptive.Observation{limit: -1})
      ** (ArgumentError) observation: limit: expected a number from 0 to 1.0e15, got: -1
  """
  @spec check!(t) :: t
  def check!(%__MODULE__{} = observation) do
    number!(observation.limit, :limit)
    number!(observation.elapsed_ms, :elapsed_ms)
    Enum.each(@counts, &count!(Map.fetch!(observation, &1), &1))
    Work.check!(observation.fresh, :fresh)
    Work.check!(observation.earlier, :earlier)
    levels!(observation.pain, :pain)
    levels!(observation.pleasure, :pleasure)
    observation
  end

  @doc false
  def number!(value, _name) when is_number(value) and value >= 0 and value <= @huge, do: :ok
  def number!(value, name), do: misuse!(name, "a number from 0 to #{@huge}", value)

  @doc false
  def count!(value, _name) when is_integer(value) and value >= 0 and value <= @huge, do: :ok
  def count!(value, name), do: misuse!(name, "an integer from 0 to #{@huge}", value)

  defp levels!(levels, name) when is_map(levels) do
    Enum.each(levels, fn
      {_source, level} when is_number(level) and level >= 0 and level <= 1 -> :ok
      {source, level} -> misuse!("#{name} of #{inspect(source)}", "a number from 0 to 1", level)
    end)
  end

  defp levels!(levels, name), do: misuse!(name, "a map from source to level", levels)

  defp misuse!(name, expected, got) do
    raise ArgumentError, "observation: #{name}: expected #{expected}, got: #{inspect(got)}"
  end
end
