defmodule RateLimiter.Adaptive.Work do
  @moduledoc """
  Finished work, as a law reads it from `RateLimiter.Adaptive.Observation`: counts by outcome, and the durations of
  successful calls.

    * `ok` - successful calls
    * `errors` - failed calls
    * `timeouts` - calls that took too long
    * `rejected` - calls that the protected resource rejected itself
    * `waited_us` - how long the timed-out calls waited in total, which shows how patient callers are
    * `latency` - a `RateLimiter.Adaptive.Histogram` of the durations of successful calls. Failures are not samples of
      latency, because fast failures would look like excellent latency
  """

  alias RateLimiter.Adaptive.Histogram

  defstruct ok: 0, errors: 0, timeouts: 0, rejected: 0, waited_us: 0, latency: %Histogram{}

  @type outcome :: :ok | :error | :timeout | :rejected
  @type t :: %__MODULE__{
          ok: non_neg_integer,
          errors: non_neg_integer,
          timeouts: non_neg_integer,
          rejected: non_neg_integer,
          waited_us: non_neg_integer,
          latency: Histogram.t()
        }

  @doc """
  Adds a call.

      iex> alias RateLimiter.Adaptive.Work
      iex> work = %Work{} |> Work.record(:ok, 12_000) |> Work.record(:error, 300)
      iex> {Work.finished(work), Work.failure_ratio(work)}
      {2, 0.5}
  """
  @spec record(t, outcome, non_neg_integer) :: t
  def record(%__MODULE__{} = work, :ok, duration_us),
    do: %{work | ok: work.ok + 1, latency: Histogram.record(work.latency, duration_us)}

  def record(work, :error, _duration_us), do: %{work | errors: work.errors + 1}

  def record(work, :timeout, duration_us),
    do: %{work | timeouts: work.timeouts + 1, waited_us: work.waited_us + duration_us}

  def record(work, :rejected, _duration_us), do: %{work | rejected: work.rejected + 1}

  @doc "Adds the work of two windows or nodes."
  @spec add(t, t) :: t
  def add(a, b) do
    %__MODULE__{
      ok: a.ok + b.ok,
      errors: a.errors + b.errors,
      timeouts: a.timeouts + b.timeouts,
      rejected: a.rejected + b.rejected,
      waited_us: a.waited_us + b.waited_us,
      latency: Histogram.add(a.latency, b.latency)
    }
  end

  @doc "Returns how many calls finished, with any outcome."
  @spec finished(t) :: non_neg_integer
  def finished(work), do: work.ok + failed(work)

  @doc "Returns how many calls failed, timed out or were rejected by the resource."
  @spec failed(t) :: non_neg_integer
  def failed(work), do: work.errors + work.timeouts + work.rejected

  @doc "Returns the share of failures among finished calls; `0.0` without any."
  @spec failure_ratio(t) :: float
  def failure_ratio(work) do
    case finished(work) do
      0 -> 0.0
      finished -> failed(work) / finished
    end
  end
end
