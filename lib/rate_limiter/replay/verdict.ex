defmodule RateLimiter.Replay.Verdict do
  @moduledoc """
  The effect that one limit would have had.

    * `:limit` - the limit, a map with `:limit`, `:per`, `:burst`, `:algorithm`
    * `:requests`, `:admitted`, `:denied` - numbers of requests
    * `:ids`, `:ids_denied` - the number of ids, and of those denied at least once
    * `:top` - the ids denied most often: maps with `:id` (one text for each field, `nil` for a field that its lines lack),
      `:requests`, `:denied`, `:longest_wait_ns` (the longest `retry_after`; `nil` is for ever), and `:marks`: `{admitted,
      denied}` in columns of equal width over the span of the logs, none without `fit: true`
    * `:paths`, `:statuses` - what was denied most often: maps with `:value` (`nil` for lines without it), `:requests` and
      `:denied`. Of the first 100,000 pairs of a path and a status
    * `:hours` - `{admitted, denied}` for each hour of the day, on the clock of the log
    * `:columns` - `{start, admitted, denied}` over time, `start` in seconds since 1970, each `:column_seconds` long
    * `:smallest` - `{share_ppm, limit}`: the smallest limit that denies at most that share of the ids, or `nil`
    * `:curve` - `{limit, ids_denied, requests_denied}` for other limits, in rising order
  """

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
    :paths,
    :statuses,
    :smallest,
    :curve
  ]
  defstruct @enforce_keys

  @type top :: %{
          id: [String.t() | nil],
          requests: pos_integer,
          denied: pos_integer,
          longest_wait_ns: non_neg_integer | nil,
          marks: [{non_neg_integer, non_neg_integer}]
        }
  @type kind :: %{
          value: String.t() | nil,
          requests: pos_integer,
          denied: pos_integer
        }
  @type t :: %__MODULE__{
          limit: RateLimiter.limit(),
          requests: non_neg_integer,
          admitted: non_neg_integer,
          denied: non_neg_integer,
          ids: non_neg_integer,
          ids_denied: non_neg_integer,
          top: [top],
          hours: [{non_neg_integer, non_neg_integer}],
          column_seconds: non_neg_integer,
          columns: [{integer, non_neg_integer, non_neg_integer}],
          paths: [kind],
          statuses: [kind],
          smallest: [{non_neg_integer, RateLimiter.limit() | nil}],
          curve: [{pos_integer, non_neg_integer, non_neg_integer}]
        }
end
