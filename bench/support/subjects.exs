defmodule Bench.Subjects do
  @moduledoc false
  # The measured calls, one loop for each.

  import Bench.Loop

  alias Bench.GovernorNif

  @tables [:bench_ets, :bench_ets_tuples]

  # No id is this atom: the comparison is all that the loop does.
  defloop :loop, id do
    if id == :nobody, do: throw(id)
  end

  defloop :nothing, _id do
    true = GovernorNif.nothing()
  end

  defloop :allow, id do
    true = RateLimiter.allow?(:wide, id, :each)
  end

  defloop :wide, id do
    {:ok, _usage} = RateLimiter.check_and_track(:wide, id, :each)
  end

  defloop :wide_plan, id do
    {:ok, _usage} = RateLimiter.check_and_track(:wide, id, :each, plan: :pro)
  end

  defloop :wide_events, id do
    {:ok, _usage} = RateLimiter.check_and_track(:wide_events, id, :each)
  end

  defloop :two, id do
    {:ok, _usage} = RateLimiter.check_and_track(:two, id)
  end

  defloop :narrow, id do
    {:error, :rate_limited, _usage} = RateLimiter.check_and_track(:narrow, id, :each)
  end

  defloop :narrow_events, id do
    {:error, :rate_limited, _usage} = RateLimiter.check_and_track(:narrow_events, id, :each)
  end

  defloop :ets, id do
    :ets.update_counter(:bench_ets, id, 1)
  end

  defloop :ets_tuples, id do
    :ets.update_counter(:bench_ets_tuples, {:api, id}, 1)
  end

  defloop :governor, id do
    true = GovernorNif.check(id)
  end

  defloop :governor_narrow, id do
    false = GovernorNif.check_narrow(id)
  end

  @doc "Creates the tables of the peers that keep their keys in ETS."
  @spec start() :: :ok
  def start do
    for table <- @tables,
        do: :ets.new(table, [:named_table, :public, :set, write_concurrency: true])

    :ok
  end

  @doc """
  Inserts every key into every subject, so that no measured call is the first about its key.

  The order differs from that of the run. Otherwise a store that keeps its keys in order of insertion would find them in
  the cache.
  """
  @spec fill(tuple) :: :ok
  def fill(keys) do
    for id <- keys |> Tuple.to_list() |> Enum.shuffle() do
      for limiter <- [:wide, :wide_events, :narrow, :narrow_events],
          do: RateLimiter.check_and_track(limiter, id, :each)

      RateLimiter.check_and_track(:two, id)

      :ets.insert_new(:bench_ets, {id, 0})
      :ets.insert_new(:bench_ets_tuples, {{:api, id}, 0})
      GovernorNif.check(id)
      GovernorNif.check_narrow(id)
    end

    :ok
  end
end
