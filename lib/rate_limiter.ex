defmodule RateLimiter do
  @moduledoc """
  Asks, before work is done, whether it may be done now: exact rate limits at the speed of a function call.

      children = [
        {RateLimiter,
         limiters: [
           api: [
             windows: [
               burst: [algorithm: :token_bucket, limit: 100, per: :second, burst: 200],
               sustained: [algorithm: :sliding_window, limit: 1_000, per: {1, :minute}]
             ]
           ]
         ]}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  A *limiter* (`:api`) is a named thing to protect, and a *window* one named limit of it. An *id* says who asks: a
  binary, an integer, an atom other than `nil`, or a tuple or list of these. `1`, `"1"` and `:"1"` are three ids.

      iex> {:ok, usage} = RateLimiter.check_and_track(:api, "user 1", :burst)
      iex> {usage.max, usage.current, usage.remaining}
      {200, 1, 199}

  What every answer tells is in `RateLimiter.Usage`. A denied call is a value, never an exception:

      iex> {:error, :rate_limited, usage} = RateLimiter.check_and_track(:api, "user 1", :burst, cost: 201)
      iex> {usage.remaining, usage.retry_after_ms}
      {200, :infinity}

  ## Calls

  Calls about a limiter need no instance, since its name is unique on a node. The third argument is a window, a list of
  windows, or options; without one, every window is meant. Several windows are decided together: all are charged or
  none, with no other call in between. Options of a call:

    * `:cost` - how much it takes, default `1`. `0` asks without taking. Any integer is a cost: one that is negative or
      above the window's maximum is denied, and `retry_after_ms` is `:infinity`.
    * `:request_id`, only of `check_and_track/4` - names the call among those of its id, so that when it is made again
      after it was allowed it is allowed again and takes nothing: a retry is not charged twice. Any binary. A call that
      was denied, or that took nothing, is not remembered.
    * `:request_ttl` - how long it is remembered, a period, default `{10, :minute}`.

  Misuse raises `ArgumentError` and says what to do: an unknown limiter or window, `nil` as an id, a cost that is no
  integer. Nothing that a remote user controls does: whatever a binary holds, it is an id, and whatever its size, an
  integer is a cost.

  ## Options of an instance

  `start_link/1` and `child_spec/1` take these, and raise `ArgumentError` with the option's path where one is wrong.

  #{RateLimiter.Config.docs()}

  What is changed at run time (`add_limiter/3`, `remove_limiter/1`, `update_limit/3`) holds until the instance stops: it
  starts with its options again.
  """

  alias RateLimiter.{Config, Instance, Store, Usage}
  alias RateLimiter.Core.{Limit, Options}
  alias RateLimiter.Instance.{Registry, Reporter, Writer}

  @typedoc "Who asks."
  @type id :: binary | integer | atom | tuple | [id]

  @typedoc "The name of a limiter."
  @type limiter :: atom

  @typedoc "One window, or several that are decided together."
  @type windows :: atom | [atom, ...]

  @typedoc "The last one only where the limiter says `on_outage: :deny`, and its Redis is away."
  @type answer ::
          {:ok, Usage.t()}
          | {:error, :rate_limited, Usage.t()}
          | {:error, :unavailable, Usage.t()}

  @call [cost: [type: {:that, &is_integer/1, "an integer"}, default: 1]]
  @check @call ++
           [
             request_id: [type: {:that, &is_binary/1, "a string"}],
             request_ttl: [type: Limit.period(), default: {10, :minute}]
           ]

  @doc "The instance as a child of a supervisor; takes the options of `start_link/1`."
  @spec child_spec(keyword | map) :: Supervisor.child_spec()
  def child_spec(options) do
    # What is no options is told of when it is started.
    readable? = Keyword.keyword?(options) or (is_map(options) and not is_struct(options))
    name = if readable?, do: Access.get(options, :name, __MODULE__), else: __MODULE__

    %{id: name, start: {__MODULE__, :start_link, [Config.hide(options)]}, type: :supervisor}
  end

  @doc """
  Starts an instance, with the options above, linked to the calling process.

  Several instances may run at once, under names of their own and with limiters of different names.

      iex> {:ok, pid} = RateLimiter.start_link(name: {:tenant, 7}, limiters: [])
      iex> RateLimiter.health_check({:tenant, 7})
      :ok
      iex> Supervisor.stop(pid)
      :ok

  Wrong options, and a limiter's name that another instance has, raise `ArgumentError`:

      iex> RateLimiter.start_link(limiters: [mail: [windows: [hourly: [limit: "5", per: :hour]]]])
      ** (ArgumentError) limiters.mail.windows.hourly.limit: expected a positive integer, got: "5"
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options), do: options |> Config.new!() |> Instance.Supervisor.start_link()

  @doc """
  Takes the call's cost from every window, if all of them allow it: `check_and_track/3` for every window.
  """
  @spec check_and_track(limiter, id) :: answer
  def check_and_track(limiter, id), do: Store.check(limiter, id, [], 1)

  @doc """
  Takes the call's cost if the limit allows it, in one step: what two callers take at once is never counted as one.

  Returns `{:ok, usage}` or `{:error, :rate_limited, usage}`; a denied call takes nothing.

      iex> {:ok, usage} = RateLimiter.check_and_track(:api, {"tenant 5", 81}, :burst)
      iex> usage.remaining
      199

  With several windows the usage is that of the window that denied or, when allowed, of the one with the least left:

      iex> {:ok, usage} = RateLimiter.check_and_track(:api, "user 1", [:burst, :sustained])
      iex> {usage.window, usage.windows.sustained.remaining}
      {:burst, 999}

  Raises `ArgumentError` where limiter, window or id is none.
  """
  @spec check_and_track(limiter, id, windows | keyword) :: answer
  def check_and_track(limiter, id, window) when is_atom(window),
    do: Store.check(limiter, id, window, 1)

  def check_and_track(limiter, id, [{_, _} | _] = options),
    do: take(limiter, id, [], options)

  def check_and_track(limiter, id, windows), do: Store.check(limiter, id, windows, 1)

  @doc """
  As `check_and_track/3`, with the options of a call.

      iex> {:ok, usage} = RateLimiter.check_and_track(:api, "user 1", :burst, cost: 5)
      iex> usage.remaining
      195

  A request that comes twice is charged once:

      iex> again = [cost: 5, request_id: "order 7"]
      iex> {:ok, _usage} = RateLimiter.check_and_track(:api, "user 2", :burst, again)
      iex> {:ok, usage} = RateLimiter.check_and_track(:api, "user 2", :burst, again)
      iex> usage.remaining
      195
  """
  @spec check_and_track(limiter, id, windows, keyword) :: answer
  def check_and_track(limiter, id, windows, options), do: take(limiter, id, windows, options)

  @doc """
  Decides many calls about one limiter at once, each by itself and in order.

  Takes entries `{id, cost}` and returns a list of answers like those of `check_and_track/3`. This is cheaper than as many
  calls (one round trip, where Redis counts), and thousands hold up no scheduler.

      iex> [{:ok, one}, {:ok, other}] = RateLimiter.check_batch(:api, [{"user 1", 1}, {"user 1", 3}], :burst)
      iex> {one.remaining, other.remaining}
      {199, 196}

  Raises `ArgumentError`, and takes nothing, where an entry has no id or no cost.
  """
  @spec check_batch(limiter, [{id, cost :: integer}], windows | []) :: [answer]
  def check_batch(limiter, entries, windows \\ []),
    do: Store.check_batch(limiter, entries, windows)

  @doc """
  What `check_and_track/4` would answer: the same numbers, but nothing is taken.

      iex> {:error, :rate_limited, usage} = RateLimiter.peek(:api, "user 1", :burst, cost: 500)
      iex> usage.remaining
      200
  """
  @spec peek(limiter, id, windows | keyword, keyword) :: answer
  def peek(limiter, id, windows \\ [], options \\ [])

  def peek(limiter, id, [{_, _} | _] = options, []),
    do: Store.peek(limiter, id, [], cost(options))

  def peek(limiter, id, windows, options), do: Store.peek(limiter, id, windows, cost(options))

  @doc """
  What an id has used. Takes nothing.

  Returns `{:ok, usage}`, also where nothing is left and for an id that was never seen.

      iex> {:ok, usage} = RateLimiter.get_usage(:api, "user 1", :burst)
      iex> {usage.current, usage.remaining}
      {0, 200}
  """
  @spec get_usage(limiter, id, windows | []) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def get_usage(limiter, id, windows \\ []), do: Store.peek(limiter, id, windows, 0)

  @doc """
  What each of many ids has used, in their order: one round trip, where Redis counts. There it may also be
  `{:error, :unavailable, nil}`, with `on_outage: :deny`.

      iex> {:ok, usages} = RateLimiter.get_usage_batch(:api, ["user 1", "user 2"], :sustained)
      iex> for {id, usage} <- usages, do: {id, usage.remaining}
      [{"user 1", 1000}, {"user 2", 1000}]
  """
  @spec get_usage_batch(limiter, [id], windows | []) ::
          {:ok, [{id, Usage.t()}]} | {:error, :unavailable, nil}
  def get_usage_batch(limiter, ids, windows \\ []),
    do: Store.usage_batch(limiter, ids, windows)

  @doc """
  Gives back what a call took and did not need.

  Returns `{:ok, usage}` as it is then. More than was taken gives back what was taken, and a negative cost nothing. With a
  Redis that does not answer it may be `{:error, :unavailable, usage}`: see `RateLimiter.Redis`.

      iex> {:ok, _usage} = RateLimiter.check_and_track(:api, "user 1", :burst, cost: 5)
      iex> {:ok, usage} = RateLimiter.refund(:api, "user 1", :burst, cost: 2)
      iex> usage.remaining
      197
  """
  @spec refund(limiter, id, windows | keyword, keyword) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def refund(limiter, id, windows \\ [], options \\ [])

  def refund(limiter, id, [{_, _} | _] = options, []),
    do: Store.refund(limiter, id, [], cost(options))

  def refund(limiter, id, windows, options),
    do: Store.refund(limiter, id, windows, cost(options))

  @doc """
  Forgets what an id has used.

  Returns `:ok`, also for an id that was never seen; or `{:error, :unavailable, nil}` while a limiter's Redis is away, since
  nobody else can forget for all nodes.

      iex> RateLimiter.reset(:api, "user 1")
      :ok
  """
  @spec reset(limiter, id, windows | []) :: :ok | {:error, :unavailable, nil}
  def reset(limiter, id, windows \\ []), do: Store.reset(limiter, id, windows)

  @doc """
  Changes a window's limit while it is in use. What was used stays used.

  Takes at least one of `:limit`, `:per` and `:burst`; a burst that was not configured follows the limit.

      iex> {:ok, _usage} = RateLimiter.check_and_track(:api, "user 1", :sustained, cost: 400)
      iex> RateLimiter.update_limit(:api, :sustained, limit: 500)
      :ok
      iex> {:ok, usage} = RateLimiter.get_usage(:api, "user 1", :sustained)
      iex> usage.remaining
      100

  Raises `ArgumentError` for a limit that the window cannot have.
  """
  @spec update_limit(limiter, window :: atom, keyword) :: :ok
  def update_limit(limiter, window, changes),
    do:
      limiter
      |> Registry.holder!()
      |> Writer.change!({:update, limiter, window, changes})

  @doc """
  Adds a limiter to a running instance, which is the last argument or the option `:instance`.

      iex> RateLimiter.add_limiter(:uploads, windows: [daily: [limit: 20, per: :day]])
      :ok

  The options are those of a limiter at start. Raises `ArgumentError` where one is wrong, the name is taken, or no such
  instance runs.
  """
  @spec add_limiter(limiter, keyword, instance :: term) :: :ok
  def add_limiter(limiter, options, instance \\ __MODULE__) do
    {instance, options} = pop_instance(options, instance)
    path = Config.path!(limiter)
    config = Config.limiter!(options, path)
    instance = Registry.fetch!(instance)
    Config.check_store!(config, instance.store, path)
    Writer.change!(instance, {:add, limiter, config})
  end

  @doc """
  Removes a limiter with all that it counted, whichever instance it is of.

      iex> RateLimiter.remove_limiter(:api)
      :ok
  """
  @spec remove_limiter(limiter) :: :ok
  def remove_limiter(limiter),
    do: limiter |> Registry.holder!() |> Writer.change!({:remove, limiter})

  @doc """
  The limiters of an instance with their windows: the limit as configured, and `:max`, what a window holds now.

      iex> limiters = RateLimiter.limiters()
      iex> limiters[:api].windows[:burst]
      %{algorithm: :token_bucket, limit: 100, per: :second, burst: 200, max: 200}

  Raises `ArgumentError` where no such instance runs.
  """
  @spec limiters(instance :: term) :: [{limiter, map}]
  def limiters(instance \\ __MODULE__),
    do: instance |> Registry.fetch!() |> Reporter.limiters()

  @doc """
  Whether all is well with an instance.

  Returns `:ok`, `{:error, :not_running}`, or `{:degraded, reason}` with one of these:

    * `{:redis, servers}` - the Redis servers that no call goes to now, each a map as in `stats/1` with its `:problem` in
      words; or `{:redis, words}`, where it is not known which servers there are.
    * `{:full, limiters}` - limiters that keep as many ids as their `:max_keys` allows (a log's stamps count, too): those
      ids stay exact, and newcomers are judged together, strictly, until others leave.
    * `{:evicts, servers}` - Redis servers that answer, and forget keys when their memory is full, by the policy that
      each has as `:evicts`: an evicted key is a free reset. Set `maxmemory-policy noeviction` there.

      iex> RateLimiter.health_check()
      :ok
      iex> RateLimiter.health_check(:nobody)
      {:error, :not_running}
  """
  @spec health_check(instance :: term) ::
          :ok
          | {:degraded, {:redis, [map] | String.t()} | {:full, [limiter]} | {:evicts, [map]}}
          | {:error, :not_running}
  def health_check(instance \\ __MODULE__),
    do: instance |> Registry.instance() |> Reporter.health()

  @doc """
  What an instance holds and did: `:keys` and `:memory` in bytes now, `:checks`, `:denials`, `:overflowed` and
  `:swept` since its start, in all and for each of its `:limiters`, and its `:store`.

      iex> RateLimiter.check_and_track(:api, "user 1", :burst)
      iex> stats = RateLimiter.stats()
      iex> {stats.store, stats.checks, stats.limiters.api.keys}
      {:local, 1, 1}

  Limiters in Redis are `:keys` that this node remembers, and also

    * `:cached_denials` - denials that were repeated from memory.
    * `:fallbacks` and `:unavailable` - calls that this node answered alone, and that nobody answered.
    * `:pending` - calls that wait for their answer.
    * `:owing` - ids of which Redis is yet to be told what this node let through.
    * `:away?` - of each limiter, whether this node answers alone.

  and the instance has `:breaker`, `:closed`, `:half_open` or `:opened`, of several servers that of the one that is worst
  off, `nil` while none is known; and `:redis`: `:nodes`, how many share the limits; `:servers`, each with its address as `:server`,
  `:breaker` (`:closed`, `:opened` or `:half_open`), `:connections`, `:pending`, `:problem` and `:evicts` (the
  `maxmemory-policy` by which it forgets keys when it is full, or `nil`); a `:problem` with finding them; and totals
  since the start: `:calls`, `:batches` that these travelled in, `:timeouts`, `:refused` by Redis, `:unsent`,
  `:reconnections`, and how often a breaker `:opened`.

  Raises `ArgumentError` where no such instance runs.
  """
  @spec stats(instance :: term) :: map
  def stats(instance \\ __MODULE__),
    do: instance |> Registry.fetch!() |> Reporter.stats()

  defp take(limiter, id, windows, cost: cost), do: Store.check(limiter, id, windows, cost)
  defp take(limiter, id, windows, []), do: Store.check(limiter, id, windows, 1)

  defp take(limiter, id, windows, options) do
    case Options.validate!(options, @check, []) do
      %{request_id: nil, cost: cost} ->
        Store.check(limiter, id, windows, cost)

      %{request_id: request, cost: cost, request_ttl: ttl} ->
        Store.check_once(limiter, id, windows, cost, {request, Limit.nanoseconds(ttl)})
    end
  end

  defp cost(cost: cost), do: cost
  defp cost([]), do: 1
  defp cost(options), do: Options.validate!(options, @call, []).cost

  defp pop_instance(options, instance) do
    cond do
      Keyword.keyword?(options) -> Keyword.pop(options, :instance, instance)
      is_map(options) and not is_struct(options) -> Map.pop(options, :instance, instance)
      true -> {instance, options}
    end
  end
end
