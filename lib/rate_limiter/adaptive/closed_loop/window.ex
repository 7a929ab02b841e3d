defmodule RateLimiter.Adaptive.ClosedLoop.Window do
  @moduledoc false
  # Observations that are collected until they suffice for a decision: 15 finished calls, or 5 seconds. So a quiet
  # subsystem is judged less often, and never by a handful of calls.

  alias RateLimiter.Adaptive.{Observation, Work}

  @enough 15
  @longest_ms 5_000
  # So many failures without any success suffice, too.
  @no_answer 6
  # The caller's clock may be a little early.
  @shortest_ms 800

  defstruct fresh: %Work{}, earlier: %Work{}, elapsed_ms: 0, asked: 0, denied: 0, guarded: 0

  @type t :: %__MODULE__{}

  @doc "Adds an observation to the window."
  @spec add(t, Observation.t()) :: t
  def add(%__MODULE__{} = window, observation) do
    %__MODULE__{
      fresh: Work.add(window.fresh, observation.fresh),
      earlier: Work.add(window.earlier, observation.earlier),
      elapsed_ms: window.elapsed_ms + observation.elapsed_ms,
      asked: window.asked + observation.asked,
      denied: window.denied + observation.denied,
      guarded: window.guarded + observation.guarded
    }
  end

  @doc "Returns whether the window suffices for a decision."
  @spec full?(t) :: boolean
  def full?(window) do
    finished = Work.finished(window.fresh) + Work.finished(window.earlier)

    (finished > 0 and window.elapsed_ms >= @longest_ms) or
      ((finished >= @enough or no_answer?(window)) and window.elapsed_ms >= @shortest_ms)
  end

  defp no_answer?(%{fresh: fresh, earlier: earlier}) do
    fresh.ok + earlier.ok == 0 and Work.failed(fresh) + Work.failed(earlier) >= @no_answer
  end

  @doc "Returns all finished work of the window."
  @spec work(t) :: Work.t()
  def work(window), do: Work.add(window.fresh, window.earlier)

  @doc "Returns how many calls per second succeeded."
  @spec good_rate(t) :: float
  def good_rate(window), do: rate(window, window.fresh.ok + window.earlier.ok)

  @doc "Returns how many calls per second were admitted."
  @spec admitted_rate(t) :: float
  def admitted_rate(window),
    do: rate(window, max(0, window.asked - window.denied - window.guarded))

  @doc "Returns how many calls per second arrived."
  @spec demand(t) :: float
  def demand(window), do: rate(window, window.asked)

  defp rate(%{elapsed_ms: elapsed}, _count) when elapsed <= 0, do: 0.0
  defp rate(%{elapsed_ms: elapsed}, count), do: count * 1_000 / elapsed
end
