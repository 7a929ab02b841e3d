defmodule RateLimiter.Usage do
  @moduledoc """
  The numbers of an answer: how much a window holds, how much is left, when to come back.

    * `limiter`, `window` - whose numbers these are. Where several windows were asked: the window that
      denied or, when allowed, the one with the least left
    * `max` - how much the window holds when nothing was used
    * `current` - how much is in use now: `max - remaining`
    * `remaining` - how much is left
    * `cost` - what this call asked for
    * `reset_after_ms` - until nothing is in use, if nobody else comes
    * `retry_after_ms` - until the same call can succeed: `0` where it did, `:infinity` where its cost can
      never be met (it is negative or above `max`). Where nobody can tell, since Redis is away, nothing is said to
      remain, and `1_000`
    * `source` - where the answer comes from: `:local`, this node's memory; `:redis`, what all nodes share;
      `:fallback`, this node's memory because Redis is away
    * `scale` - the factor that is on the limit now: `1.0` is the limit as configured
    * `windows` - where several windows were asked: each one's own usage by its name; else empty

  Milliseconds are rounded up: a caller that waits so long is never too early.
  """

  @enforce_keys [:limiter, :window, :max, :current, :remaining]
  defstruct limiter: nil,
            window: nil,
            max: 0,
            current: 0,
            remaining: 0,
            cost: 1,
            reset_after_ms: 0,
            retry_after_ms: 0,
            source: :local,
            scale: 1.0,
            windows: %{}

  @type t :: %__MODULE__{
          limiter: atom,
          window: atom,
          max: non_neg_integer,
          current: non_neg_integer,
          remaining: non_neg_integer,
          cost: integer,
          reset_after_ms: non_neg_integer,
          retry_after_ms: non_neg_integer | :infinity,
          source: :local | :redis | :fallback,
          scale: float,
          windows: %{optional(atom) => t}
        }

  alias RateLimiter.Core.Native

  @doc false
  @spec from_window(Native.usage(), atom, atom, integer) :: t
  def from_window({_, _, max, remaining, reset_ms, retry_ms, ppm}, limiter, window, cost) do
    %__MODULE__{
      limiter: limiter,
      window: window,
      max: max,
      current: max - remaining,
      remaining: remaining,
      cost: cost,
      reset_after_ms: reset_ms,
      retry_after_ms: retry_ms,
      source: :local,
      scale: scale(ppm),
      windows: %{}
    }
  end

  @doc false
  @spec from_row(Native.row(), atom, {atom, pos_integer}, integer) :: t
  def from_row({window, max, remaining, reset_ms, retry_ms}, limiter, {source, ppm}, cost) do
    usage = {:ok, :none, max, remaining, reset_ms, retry_ms, ppm}
    %{from_window(usage, limiter, window, cost) | source: source}
  end

  @doc false
  @spec from_rows([Native.row(), ...], atom, atom, {atom, pos_integer}, integer) :: t
  def from_rows(rows, binding, limiter, source, cost) do
    windows = Map.new(rows, &{elem(&1, 0), from_row(&1, limiter, source, cost)})
    %{Map.fetch!(windows, binding) | windows: windows}
  end

  # The unscaled limit is the usual one: no float is made for it.
  defp scale(1_000_000), do: 1.0
  defp scale(ppm), do: ppm / 1_000_000
end
