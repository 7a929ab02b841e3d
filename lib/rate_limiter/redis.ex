defmodule RateLimiter.Redis do
  @moduledoc """
  A store that nodes share: limits that hold across all of them, counted in Redis or Valkey.

      {RateLimiter,
       store: {:redis, url: "redis://localhost:6379", password: {:system, "REDIS_PASSWORD"}},
       limiters: [api: [windows: [burst: [limit: 100, per: :second]], on_outage: :share]]}

  The API is the same as with the local store. A check is decided in Redis, in one step and by the clock of Redis,
  and takes one round trip, which it shares with concurrent checks. A failure of Redis never raises in the caller,
  and never makes it wait longer than `:timeout`.

  ## During an outage of Redis

  The option `:on_outage` of each limiter determines its answers:

    * `:share`, the default - each node enforces its share of the limit, based on the last known state in Redis. Answers
      have `source: :fallback`. When Redis is back, the usage that was admitted in the meantime is reported to it,
      before any other call with the same id.
    * `:allow` - every call is admitted, except one whose cost is negative or above the maximum, which Redis would
      always deny, too.
    * `:deny` - calls return `{:error, :unavailable, usage}`, also `RateLimiter.refund/4`, and
      `RateLimiter.get_usage_batch/3` returns `{:error, :unavailable, nil}`.

  With any `:on_outage`, `RateLimiter.reset/3` and `RateLimiter.reset/1` then return `{:error, :unavailable, nil}`, because one node cannot
  delete what all nodes share. `RateLimiter.refund/4` returns `{:error, :unavailable, usage}` if Redis did not answer
  but may have given the cost back. Do not repeat it, because that could give the cost back twice. A refund by receipt
  (`RateLimiter.refund/2`) returns the same, and can be repeated: Redis gives back once.

  ## Counts

  For limiters in Redis, `:keys` of `RateLimiter.stats/1` are the ids whose last known state is in memory, and the map
  also has

    * `:cached_denials` - denials that were repeated from memory.
    * `:fallbacks` and `:unavailable` - calls that this node decided alone, and calls that were not decided.
    * `:pending` - calls that wait for their answer.
    * `:owing` - ids with usage that was admitted during an outage and is not yet reported to Redis.
    * `:away?` - in each limiter, whether this node decides alone, in a Cluster about the keys of a server at least.
    * `:breaker` - `:closed`, `:half_open` or `:opened`. Of several servers the worst state, `nil` while no server is known.
    * `:redis` - a map of the client: `:nodes`, the number of nodes that share the limits; `:heartbeat`, why Redis refuses
      the heartbeats by which they count each other, or `nil`; `:servers`; a `:problem` with
      the discovery of servers; and totals since the start, `:calls`, the `:batches` that they were sent in,
      `:timeouts`, `:refused` by Redis, `:unsent`, `:reconnections`, and how often a breaker `:opened`. A server has
      its address as `:server`, and `:breaker`, `:connections`, `:pending`, `:round_trip_us` (the smoothed time from
      sending calls to their reply), `:recent_calls` and `:recent_failures` (the calls of the last five seconds, and those
      of them that it has not answered), `:failing` (whether these are more than one in ten), `:problem`, `:evicts`
      (the `maxmemory-policy` by which it evicts keys, or `nil`), how often its breaker `:opened`, and `:answered` and `:failed`, histograms of how long calls waited for their reply or
      failure: `:sum_us`, and as `:buckets` pairs of an upper bound in microseconds and the calls up to it.

    * `:limits` - a map: `:version`, a short text that is the same on all nodes with the same limits; `:versions`, how many nodes
      of this instance's name have which version, so that two of them are seen during a rolling deployment; `:revision`, the number of
      changes with `scope: :cluster`; and `:problem`, why Redis did not answer when this node last asked for changes, or `nil`.

  ## Options

  #{RateLimiter.Redis.Config.docs()}

  Several instances may share a Redis: limiters of the same prefix and name are one limiter, also across nodes. Give
  such limiters the same windows. `RateLimiter.update_limit/3` changes the limit on the calling node only, and each
  node decides by its own limit. `RateLimiter.Limits.apply/2` with `scope: :cluster` changes it on all nodes.
  """

  alias RateLimiter.Instance
  alias RateLimiter.Core.{Options, Secret}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.Credentials

  @credentials [
    username: [type: {:custom, &RateLimiter.Redis.Config.text?/1, "a string"}, secret: true],
    password: [type: Secret.type(), required: true, secret: true]
  ]

  @doc """
  Replaces the password and the user of an instance.

  Takes `:password` and, unless it is the default user of the server, `:username`, in the forms of the options of the
  store. Returns `:ok` when the password was read, before it is used. New connections are opened with it before the
  old ones are closed.

      RateLimiter.Redis.put_credentials(username: "limiter", password: "new")

  Raises `ArgumentError` if an option is invalid, the password cannot be read, or the instance has no Redis.
  """
  @spec put_credentials(keyword, instance :: term) :: :ok
  def put_credentials(options, instance \\ RateLimiter) do
    unless Keyword.keyword?(options), do: Options.hidden!([], "a keyword list with :password")
    %{username: username, password: password} = Options.validate!(options, @credentials, [])

    case Registry.fetch!(instance) do
      %Instance{store: {:redis, _store}} = instance ->
        Credentials.put!(instance, %{username: username, password: Secret.hide(password)})

      _local ->
        raise ArgumentError,
              "the instance #{Options.show(instance)} has no Redis, its store is :local"
    end
  end
end
