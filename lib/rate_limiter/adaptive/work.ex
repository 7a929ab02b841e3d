defmodule RateLimiter.Adaptive.Work do
  @moduledoc """
  Finished work, counted by outcome, with the durations of what succeeded.

    * `ok` - calls that succeeded
    * `errors` - that failed
    * `timeouts` - that took too long
    * `rejected` - that the resource behind turned away itself
    * `waited_us` - how long those that took too long waited, together: it tells how patient callers are
    * `latency` - a `RateLimiter.Adaptive.Histogram` of how long the successful ones took. A failure is no sample
      of latency: what fails fast would look like excellent latency

  Counts and histograms add, whatever the order: two halves of a window, or two nodes, are `add/2`.
  """

  alias RateLimiter.Adaptive.{Histogram, Observation}

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
  The work with one more call in it.

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

  @doc "Both together."
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

  @doc "How many calls finished, however."
  @spec finished(t) :: non_neg_integer
  def finished(work), do: work.ok + failed(work)

  @doc "How many failed, timed out or were turned away by the resource."
  @spec failed(t) :: non_neg_integer
  def failed(work), do: work.errors + work.timeouts + work.rejected

  @doc "The share of failures among what finished; `0.0` where nothing did."
  @spec failure_ratio(t) :: float
  def failure_ratio(work) do
    case finished(work) do
      0 -> 0.0
      finished -> failed(work) / finished
    end
  end

  @doc false
  def check!(%__MODULE__{} = work, name) do
    for key <- [:ok, :errors, :timeouts, :rejected, :waited_us],
        do: Observation.count!(Map.fetch!(work, key), "#{name}.#{key}")

    Histogram.check!(work.latency, name)
  end

  def check!(other, name) do
    raise ArgumentError,
          "observation: #{name}: expected a #{inspect(__MODULE__)}, got: #{inspect(other)}"
  end
end
