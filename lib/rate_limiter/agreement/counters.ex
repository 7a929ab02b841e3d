defmodule RateLimiter.Agreement.Counters do
  @moduledoc false
  # Observations as counters that Redis can add: names and numbers of one node's observation, and the observation of
  # their sum. Levels that do not add up, such as pain, are in each node's heartbeat.

  alias RateLimiter.Adaptive.{Histogram, Observation, Work}

  @counts [:asked, :denied, :guarded]
  @outcomes [ok: "o", errors: "e", timeouts: "t", rejected: "r", waited_us: "w"]
  @sum_us "s"

  @type t :: %{optional(String.t()) => non_neg_integer}

  @doc "Returns the counters of an observation that are not zero."
  @spec new(Observation.t()) :: t
  def new(%Observation{} = observation) do
    counts = for key <- @counts, do: {Atom.to_string(key), Map.fetch!(observation, key)}
    all = counts ++ work("f", observation.fresh) ++ work("e", observation.earlier)
    for {name, count} <- all, count > 0, into: %{}, do: {name, count}
  end

  @doc "Returns the observation of a sum of counters. Ignores unknown names."
  @spec observation(t) :: Observation.t()
  def observation(counters) do
    counts = for key <- @counts, do: {key, Map.get(counters, Atom.to_string(key), 0)}
    work = %Observation{fresh: read("f", counters), earlier: read("e", counters)}
    struct!(work, counts)
  end

  defp work(part, %Work{latency: latency} = work) do
    outcomes = for {key, name} <- @outcomes, do: {part <> name, Map.fetch!(work, key)}
    buckets = for {bucket, count} <- latency.counts, do: {"#{part}#{bucket}", count}
    [{part <> @sum_us, latency.sum_us} | outcomes ++ buckets]
  end

  defp read(part, counters) do
    outcomes = for {key, name} <- @outcomes, do: {key, Map.get(counters, part <> name, 0)}
    sum_us = Map.get(counters, part <> @sum_us, 0)
    latency = Histogram.from_counts(buckets(part, counters), sum_us)
    struct!(%Work{latency: latency}, outcomes)
  end

  defp buckets(part, counters) do
    for {<<^part::binary-size(1), digit, _::binary>> = name, count} <- counters,
        digit in ?0..?9,
        do: {name |> binary_part(1, byte_size(name) - 1) |> String.to_integer(), count}
  end
end
