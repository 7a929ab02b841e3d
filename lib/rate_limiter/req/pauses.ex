defmodule RateLimiter.Req.Pauses do
  @moduledoc false
  # Until when a server wants no more requests, for each limiter and id. A table that all requests of the node share, since
  # a request is often built anew for each call. Times are monotonic milliseconds.

  @doc "Creates the table. It lives as long as the calling process."
  @spec open() :: :ok
  def open do
    _table = :ets.new(__MODULE__, [:named_table, :public, read_concurrency: true])
    :ok
  end

  @doc "Pauses for so many milliseconds from now, unless a longer pause is known."
  @spec put(key :: term, non_neg_integer, now :: integer) :: :ok
  def put(key, ms, now) do
    # Ids that are not used again leave no entry.
    :ets.select_delete(__MODULE__, [{{:_, :"$1"}, [{:"=<", :"$1", now}], [true]}])
    :ets.insert(__MODULE__, {key, max(now + ms, now + left(key, now))})
    :ok
  end

  @doc "Returns the milliseconds until the pause ends."
  @spec left(key :: term, now :: integer) :: non_neg_integer
  def left(key, now) do
    case :ets.lookup(__MODULE__, key) do
      [{_key, until}] -> max(until - now, 0)
      [] -> 0
    end
  end
end
