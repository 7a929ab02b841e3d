defmodule RateLimiter.Agreement.Counters do
  @moduledoc false
  # What nodes saw, as counts that add: a node's observation as names and numbers, and the sum of all as an observation.
  #
  # Only counts go this way. What stands and does not add, such as pain, is in what each node says of itself.

  alias RateLimiter.Adaptive.{Histogram, Observation, Work}

  @counts [:asked, :denied, :guarded]
  @outcomes [ok: "o", errors: "e", timeouts: "t", rejected: "r", waited_us: "w"]
  @sum_us "s"

  @type t :: %{optional(String.t()) => non_neg_integer}

  @doc "The counts of an observation, those that are not zero."
  @spec new(Observation.t()) :: t
  def new(%Observation{} = observation) do
    counts = for key <- @counts, do: {Atom.to_string(key), Map.fetch!(observation, key)}
    all = counts ++ work("f", observation.fresh) ++ work("e", observation.earlier)
    for {name, count} <- all, count > 0, into: %{}, do: {name, count}
  end

  @doc "Both together."
  @spec add(t, t) :: t
  def add(one, other), do: Map.merge(one, other, fn _name, a, b -> a + b end)

  @doc "What all saw together, as far as it is counted."
  @spec observation(t) :: Observation.t()
  def observation(tally) do
    counts = for key <- @counts, do: {key, Map.get(tally, Atom.to_string(key), 0)}

    struct!(%Observation{fresh: read("f", tally), earlier: read("e", tally)}, counts)
  end

  defp work(part, %Work{latency: latency} = work) do
    outcomes = for {key, name} <- @outcomes, do: {part <> name, Map.fetch!(work, key)}
    buckets = for {bucket, count} <- latency.counts, do: {"#{part}#{bucket}", count}
    [{part <> @sum_us, latency.sum_us} | outcomes ++ buckets]
  end

  defp read(part, tally) do
    outcomes = for {key, name} <- @outcomes, do: {key, Map.get(tally, part <> name, 0)}
    latency = Histogram.from_counts(buckets(part, tally), Map.get(tally, part <> @sum_us, 0))
    struct!(%Work{latency: latency}, outcomes)
  end

  defp buckets(part, tally) do
    for {<<^part::binary-size(1), digit, _::binary>> = name, count} <- tally,
        digit in ?0..?9,
        do: {name |> binary_part(1, byte_size(name) - 1) |> String.to_integer(), count}
  end
end
