defmodule RateLimiter.Usage do
  @moduledoc """
  The numbers of an answer: how much of a window is in use and left, and when to retry.

    * `limiter`, `window` - the names. Of several windows, the window that denied the call or, if it was admitted,
      the one with the least left
    * `max` - the maximum of the window, available when nothing was used
    * `current` - what is in use now: `max - remaining`
    * `remaining` - what is left
    * `cost` - the cost of this call
    * `next_after_ms` - milliseconds until one more unit is left than `remaining`, without further calls. `0` if `remaining`
      is `max`, and `1_000` in an `:unavailable` answer
    * `reset_after_ms` - milliseconds until nothing is in use, without further calls
    * `would_deny` - whether the call was admitted only because a window is in shadow mode (`enforce: false`). In `windows`,
      `true` for each such window that would have denied it; `retry_after_ms` of that window is how long
    * `retry_after_ms` - milliseconds until the same call can be admitted: `0` if it was, `:infinity` if its cost can
      never be admitted (it is negative or above the limit). In an `:unavailable` answer it is `1_000`, and `remaining` is
      0. It is also `1_000` if this node's share of the limit is too small for the cost, while Redis is away
    * `source` - where the call was decided: `:local` in the memory of this node, `:redis` in the Redis that all nodes
      share, `:store` in the `RateLimiter.Store` that they share, `:fallback` in the memory of this node during an outage of either
    * `scale` - the current factor of the limit, `1.0` for the limit as configured
    * `plan` - the plan of the call: its name, the limits that the call gave, or `nil` for the limits of the limiter
    * `windows` - for a call on a list of windows, or on all, the usage of each by name. Otherwise empty
    * `receipt` - opaque. In the answer to an admitted call, what `RateLimiter.refund/2` needs to give back what still counts
      of that call. Otherwise `nil`

  Milliseconds are rounded up, so a caller that waits that long is never too early.
  """

  # The receipt has the id.
  @derive {Inspect, except: [:receipt]}
  @enforce_keys [:limiter, :window, :max, :current, :remaining]
  defstruct limiter: nil,
            window: nil,
            max: 0,
            current: 0,
            remaining: 0,
            cost: 1,
            next_after_ms: 0,
            reset_after_ms: 0,
            retry_after_ms: 0,
            source: :local,
            scale: 1.0,
            would_deny: false,
            plan: nil,
            windows: %{},
            receipt: nil

  @type t :: %__MODULE__{
          limiter: atom,
          window: atom,
          max: non_neg_integer,
          current: non_neg_integer,
          remaining: non_neg_integer,
          cost: integer,
          next_after_ms: non_neg_integer,
          reset_after_ms: non_neg_integer,
          retry_after_ms: non_neg_integer | :infinity,
          source: :local | :redis | :store | :fallback,
          scale: float,
          would_deny: boolean,
          plan: RateLimiter.plan(),
          windows: %{optional(atom) => t},
          receipt: receipt | nil
        }

  @typedoc "What `RateLimiter.refund/2` needs of a call. Its form may change with any version."
  @type receipt ::
          {limiter :: atom, id :: RateLimiter.id(), windows :: atom | [atom], cost :: integer,
           at :: non_neg_integer, serial :: non_neg_integer, request_id :: binary | nil}

  alias RateLimiter.Core.Native

  @compile {:inline, new: 4, row: 2}

  @doc false
  @spec from_window(Native.usage(), atom, atom, integer, receipt | nil, RateLimiter.plan()) :: t
  def from_window(answer, limiter, window, cost, receipt \\ nil, plan \\ nil) do
    {_, _, max, remaining, next_ms, reset_ms, retry_ms, ppm, _, _} = answer
    row = {window, max, remaining, next_ms, reset_ms, retry_ms}
    new(row, {limiter, :local, scale(ppm), cost, plan}, %{}, receipt)
  end

  @doc false
  # Of one window whose usage does not hold itself.
  @spec from_row(Native.row(), atom, {atom, pos_integer}, integer, receipt | nil) :: t
  def from_row(row, limiter, {source, ppm}, cost, receipt),
    do: new(row, {limiter, source, scale(ppm), cost, nil}, %{}, receipt)

  @doc false
  @spec from_rows([Native.row(), ...], atom, atom, {atom, pos_integer}, integer, receipt | nil) ::
          t
  def from_rows(rows, binding, limiter, {source, ppm}, cost, receipt) do
    call = {limiter, source, scale(ppm), cost, nil}
    rows |> List.keyfind!(binding, 0) |> new(call, windows(rows, call), receipt)
  end

  # Two are usual, and a map of known size is built much faster.
  defp windows([one, two], call),
    do: %{elem(one, 0) => row(one, call), elem(two, 0) => row(two, call)}

  defp windows(rows, call), do: Map.new(rows, &{elem(&1, 0), row(&1, call)})

  defp row(row, call), do: new(row, call, %{}, nil)

  # Not an update of another usage, which would copy it: these are a large part of what a check costs.
  defp new(row, {limiter, source, scale, cost, plan}, windows, receipt) do
    {window, max, remaining, next_ms, reset_ms, retry_ms} = row

    %__MODULE__{
      limiter: limiter,
      window: window,
      max: max,
      current: max - remaining,
      remaining: remaining,
      cost: cost,
      next_after_ms: next_ms,
      reset_after_ms: reset_ms,
      retry_after_ms: retry_ms,
      source: source,
      scale: scale,
      plan: plan,
      windows: windows,
      receipt: receipt
    }
  end

  @doc false
  # The usage of a call under a plan.
  @spec under(t, RateLimiter.plan()) :: t
  def under(usage, nil), do: usage

  def under(usage, plan) do
    windows = Map.new(usage.windows, fn {window, usage} -> {window, %{usage | plan: plan}} end)
    %{usage | plan: plan, windows: windows}
  end

  @doc false
  # What the receipt of a usage says.
  @spec receipt(t) ::
          {atom, RateLimiter.id(), atom | [atom], Native.receipt()} | nil
  def receipt(%__MODULE__{receipt: nil}), do: nil

  def receipt(%__MODULE__{receipt: {limiter, id, windows, cost, at, serial, request}}),
    do: {limiter, id, windows, {at, serial, cost, request}}

  @doc false
  # The usage of a call that was admitted in shadow mode with its receipt, which is about the windows that were charged. The
  # windows of a call with a request id are part of its name, so they stay.
  @spec with_receipt(t, Native.answer(), RateLimiter.id(), atom | [atom], binary | nil) :: t
  def with_receipt(usage, answer, id, windows, request) do
    {at, serial} =
      case answer do
        {_, _, _, _, _, _, _, _, at, serial} -> {at, serial}
        {_, _, _, _, _, _, at, serial} -> {at, serial}
      end

    {windows, serial} = charged(usage, windows, serial, request)
    %{usage | receipt: {usage.limiter, id, windows, usage.cost, at, serial, request}}
  end

  defp charged(usage, windows, serial, request) do
    case for {window, %{would_deny: false}} <- usage.windows, do: window do
      [] -> {windows, 0}
      charged when request == nil -> {charged, serial}
      _named -> {windows, serial}
    end
  end

  @doc false
  # The usage of a call that was admitted only because a window is in shadow mode: such a window has a time to wait.
  @spec in_shadow(t) :: t
  def in_shadow(%__MODULE__{windows: windows} = usage) do
    windows =
      Map.new(windows, fn {name, own} -> {name, %{own | would_deny: own.retry_after_ms != 0}} end)

    %{usage | would_deny: true, windows: windows}
  end

  # Without a scale, which is usual, no float is created.
  defp scale(1_000_000), do: 1.0
  defp scale(ppm), do: ppm / 1_000_000
end
