defmodule RateLimiter.Replay.Verdict do
  @moduledoc """
  What one limit would have done.

    * `:limit` - the limit, a map with `:limit`, `:per`, `:burst`, `:algorithm`
    * `:requests`, `:admitted`, `:denied` - how many
    * `:ids`, `:ids_denied` - how many asked, and how many of them were denied at least once
    * `:top` - the ids denied most often: maps with `:id` (one text a field, `nil` for one that its lines lack),
      `:requests`, `:denied`, and `:longest_wait_ns` (the longest that it was told to wait; `nil` for ever)
    * `:hours` - `{admitted, denied}` for each hour of the day, by the clock that the log was written by
    * `:columns` - `{start, admitted, denied}` over time, `start` in seconds since 1970, each `:column_seconds` long
    * `:smallest` - `{share_ppm, limit}`: the smallest limit that denies at most that share of the ids, or `nil`
    * `:curve` - `{limit, ids_denied, requests_denied}` for other limits, rising
  """

  alias RateLimiter.Core.Limit

  @enforce_keys [
    :limit,
    :requests,
    :admitted,
    :denied,
    :ids,
    :ids_denied,
    :top,
    :hours,
    :column_seconds,
    :columns,
    :smallest,
    :curve
  ]
  defstruct @enforce_keys

  @type top :: %{
          id: [String.t() | nil],
          requests: pos_integer,
          denied: pos_integer,
          longest_wait_ns: non_neg_integer | nil
        }
  @type t :: %__MODULE__{
          limit: Limit.t(),
          requests: non_neg_integer,
          admitted: non_neg_integer,
          denied: non_neg_integer,
          ids: non_neg_integer,
          ids_denied: non_neg_integer,
          top: [top],
          hours: [{non_neg_integer, non_neg_integer}],
          column_seconds: non_neg_integer,
          columns: [{integer, non_neg_integer, non_neg_integer}],
          smallest: [{non_neg_integer, Limit.t() | nil}],
          curve: [{pos_integer, non_neg_integer, non_neg_integer}]
        }
end
