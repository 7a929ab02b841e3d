defmodule RateLimiter.HTTP.Policy do
  @moduledoc false
  # A window of an answer in the terms of HTTP: whole seconds, and quotas that are Integers of Structured Fields.

  alias RateLimiter.Core.{Limit, Options}
  alias RateLimiter.Instance.Plans
  alias RateLimiter.Usage

  # The largest Integer of Structured Fields.
  @max 999_999_999_999_999

  # The gate and the guard of a subsystem. Both deny calls, but neither is a window of a limiter.
  @gates [:gate, :in_flight]

  @enforce_keys [:name, :quota, :remaining, :reset]
  defstruct [:name, :quota, :period, :remaining, :time, :reset, wait: 0, reduced?: false]

  @typedoc """
  Periods and times are in seconds. `time` is the one in which `remaining` is available, `reset` the one until nothing is
  in use, `wait` the one until the call can be admitted. `reduced?` if the configured limit would have admitted the call.
  """
  @type t :: %__MODULE__{
          name: String.t(),
          quota: non_neg_integer,
          period: pos_integer | nil,
          remaining: non_neg_integer,
          time: pos_integer | nil,
          reset: non_neg_integer,
          wait: non_neg_integer | :infinity,
          reduced?: boolean
        }

  @doc """
  Returns the policies of an answer, in the order in which the limiter has its windows. A window in shadow mode is not a policy
  for clients.
  """
  @spec all(RateLimiter.answer()) :: [t]
  def all(answer) do
    usage = usage!(answer)
    limits = limits(usage.limiter, usage.plan)

    for own <- usages(usage, limits), enforced?(limits[own.window]) do
      new(own, limits[own.window])
    end
  end

  defp enforced?(%Limit{enforce: enforce}), do: enforce
  defp enforced?(nil), do: true

  @doc "Returns the seconds after which the denied call can be admitted."
  @spec retry_after([t]) :: pos_integer | :infinity
  def retry_after(policies) do
    # An atom is greater than any number.
    for policy <- policies, reduce: 1, do: (wait -> max(wait, policy.wait))
  end

  defp usage!({:ok, %Usage{} = usage}), do: usage
  defp usage!({:error, reason, %Usage{} = usage}) when is_atom(reason), do: usage

  defp usage!(other) do
    raise ArgumentError,
          "expected an answer of check_and_track, got: #{Options.show(other)}"
  end

  defp limits(limiter, plan) do
    Plans.windows!(limiter, plan)
  rescue
    # The limiter was removed, belongs to another node, or is a subsystem.
    _error in [ArgumentError, MatchError] -> []
  end

  defp usages(%Usage{windows: windows} = usage, _limits) when windows == %{}, do: [usage]

  defp usages(%Usage{windows: windows}, limits) do
    order = limits |> Keyword.keys() |> Enum.with_index() |> Map.new()
    windows |> Map.values() |> Enum.sort_by(&{order[&1.window], &1.window})
  end

  defp new(usage, nil) do
    wait = seconds(usage.retry_after_ms)

    %__MODULE__{
      name: name(usage.window),
      quota: min(usage.max, @max),
      remaining: min(usage.remaining, @max),
      time: if(is_integer(wait) and wait > 0, do: wait),
      reset: seconds(usage.reset_after_ms),
      wait: wait,
      reduced?: usage.window in @gates
    }
  end

  defp new(usage, limit) do
    wait = seconds(usage.retry_after_ms)
    # Units and nanoseconds: at the present scale, `units` are admitted in `span`.
    rate = {limit.limit * ppm(usage.scale), Limit.nanoseconds(limit.per) * 1_000_000}
    {remaining, time} = available(usage, wait, rate)

    %__MODULE__{
      name: name(usage.window),
      quota: min(limit.limit, @max),
      period: whole_seconds(Limit.nanoseconds(limit.per)),
      remaining: min(remaining, @max),
      time: time,
      reset: seconds(usage.reset_after_ms),
      wait: wait,
      reduced?: wait != 0 and usage.current + usage.cost <= full(limit)
    }
  end

  # A call with a cost may be denied although units remain: `r` is what the rate allows until the retry.
  defp available(usage, wait, {units, span}) when is_integer(wait) and wait > 0,
    do: {min(usage.remaining, div(wait * 1_000_000_000 * units, span)), wait}

  # `r` over `t` is within the rate, and at `t` more than `r` is available.
  defp available(%{remaining: remaining, next_after_ms: next_ms}, _wait, {units, span}) do
    at_rate = ceil_div(remaining * span, units * 1_000_000_000)
    {remaining, at_rate |> max(seconds(next_ms)) |> max(1)}
  end

  # The units of an unused window at the configured limit.
  defp full(limit), do: Limit.filled!(limit).burst || limit.limit

  defp ppm(scale), do: max(round(scale * 1_000_000), 1)

  defp whole_seconds(ns) when rem(ns, 1_000_000_000) == 0, do: div(ns, 1_000_000_000)
  defp whole_seconds(_ns), do: nil

  defp seconds(:infinity), do: :infinity
  defp seconds(ms), do: ceil_div(ms, 1_000)

  defp ceil_div(a, b), do: div(a + b - 1, b)

  # Names are ASCII in a String of Structured Fields. Other bytes are percent-encoded, so that names stay different.
  defp name(window) do
    for <<byte <- Atom.to_string(window)>>, into: "", do: character(byte)
  end

  defp character(byte) when byte in 0x20..0x7E and byte not in ~c(%"\\), do: <<byte>>
  defp character(byte), do: "%" <> Base.encode16(<<byte>>)
end
