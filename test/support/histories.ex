defmodule RateLimiter.Support.Histories do
  @moduledoc false
  # Random histories for control laws, the same for a seed.

  alias RateLimiter.Adaptive.{Observation, Work}

  @doc "Runs a property for seeds 1 to `count`; the seed that fails is in the message."
  defmacro for_all(seed, count, do: block) do
    quote do
      for unquote(seed) <- 1..unquote(count) do
        try do
          unquote(block)
        rescue
          error in ExUnit.AssertionError ->
            message = "seed #{unquote(seed)}: #{error.message}"
            reraise %{error | message: message}, __STACKTRACE__
        end
      end
    end
  end

  @doc "So many observations of anything: calm, overload, failure, pain, silence, lies."
  def history(seed, length) do
    :rand.seed(:exsss, seed)
    for _ <- 1..length, do: observation()
  end

  @doc "One of them, by the process's own generator."
  def observation do
    limit = 10.0 * pick([1, 10, 100])

    %Observation{
      limit: limit,
      elapsed_ms: 900 + :rand.uniform(200),
      fresh: work(pick([0, 3, 40, 120])),
      earlier: work(pick([0, 0, 10])),
      asked: :rand.uniform(200),
      denied: pick([0, 0, :rand.uniform(50)]),
      guarded: pick([0, 0, :rand.uniform(20)]),
      in_flight: pick([0, 2, :rand.uniform(100)]),
      pain: pick([%{}, %{}, %{}, %{a: :rand.uniform()}, %{a: 1.0, b: :rand.uniform()}]),
      pleasure: pick([%{}, %{a: :rand.uniform()}])
    }
  end

  @doc "So many finished calls: usual, slow, or failing."
  def work(count) do
    usual = pick([5_000, 20_000, 400_000])
    failing = pick([0.0, 0.0, 0.05, 0.3, 0.9])

    Enum.reduce(List.duplicate(nil, count), %Work{}, fn _, work ->
      Work.record(work, outcome(failing), round(usual * (0.5 + :rand.uniform())))
    end)
  end

  @doc "A second of work that is well."
  def calm(limit \\ 100.0) do
    ok = Enum.reduce(1..50, %Work{}, fn _, work -> Work.record(work, :ok, 20_000) end)
    %Observation{limit: limit, fresh: ok, asked: 50, in_flight: 1}
  end

  def pick(values), do: Enum.random(values)

  defp outcome(failing) do
    if :rand.uniform() < failing, do: pick([:error, :timeout, :rejected]), else: :ok
  end
end
