defmodule RateLimiter.Oban do
  @moduledoc """
  A denied answer as what a worker of Oban returns.

      def perform(%Oban.Job{args: %{"account" => account}}) do
        case RateLimiter.check_and_track(:mail, account, :hour) do
          {:ok, _usage} -> deliver(account)
          denied -> RateLimiter.Oban.snooze(denied)
        end
      end

  The job returns when it can be admitted, and consumes no attempt. Jobs that wait for the same limit return at the same
  time, and all but the first ones snooze again: where a few workers share a limit, `RateLimiter.await/4` has an order.
  """

  alias RateLimiter.Core.Options
  alias RateLimiter.Usage

  @doc """
  Returns `{:snooze, seconds}` with the time to retry, rounded up, at least 1; or `{:cancel, reason}` for a call that can
  never be admitted.

      iex> {:ok, _usage} = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 5)
      iex> RateLimiter.Oban.snooze(RateLimiter.check_and_track(:login, "ann", :attempts))
      {:snooze, 720}
      iex> RateLimiter.Oban.snooze(RateLimiter.check_and_track(:login, "ann", :attempts, cost: 6))
      {:cancel, "the cost 6 is above the limit of :login, :attempts"}

  Raises `ArgumentError` for an admitted answer.
  """
  @spec snooze(RateLimiter.answer() | {:error, :timeout, Usage.t()}) ::
          {:snooze, pos_integer} | {:cancel, String.t()}
  def snooze({:error, _reason, %Usage{retry_after_ms: :infinity} = usage}) do
    {:cancel,
     "the cost #{usage.cost} is above the limit of #{inspect(usage.limiter)}, #{inspect(usage.window)}"}
  end

  def snooze({:error, _reason, %Usage{retry_after_ms: wait}}),
    do: {:snooze, max(div(wait + 999, 1_000), 1)}

  def snooze(other),
    do: raise(ArgumentError, "expected a denied answer, got: #{Options.show(other)}")
end
