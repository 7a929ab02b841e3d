defmodule RateLimiter do
  @external_resource "README.md"
  @moduledoc "README.md"
             |> File.read!()
             |> String.split("<!-- MDOC !-->")
             |> Enum.fetch!(1)

  # This module is the public API. `RateLimiter.Store` decides, `RateLimiter.Instance.Writer` changes limiters.

  alias RateLimiter.{Await, Instance, Store, Telemetry, Usage}
  alias RateLimiter.Core.{Errors, Limit, Options, Plan}
  alias RateLimiter.Instance.{Config, Plans, Registry, Reporter, Writer}
  alias RateLimiter.Limits.Cluster
  alias RateLimiter.Store.Callers

  @typedoc "The identity of a caller. `1`, `\"1\"` and `:\"1\"` are three ids."
  @type id :: binary | integer | atom | tuple | [id]

  @typedoc "The name of a limiter."
  @type limiter :: atom

  @typedoc "One window, or several that are decided together."
  @type windows :: atom | [atom, ...]

  @typedoc "A period, shorter than 9 years."
  @type period :: unit | {pos_integer, unit}
  @type unit :: :millisecond | :second | :minute | :hour | :day

  @typedoc "The name of a plan. Strings suit names that are made at run time, such as one for a customer."
  @type plan_name :: atom | String.t()

  @typedoc "The plan of a call: its name, other limits by window, or `nil` for the limits of the limiter."
  @type plan :: plan_name | [{window :: atom, keyword}] | nil

  @typedoc "The limit of a window. Options of other algorithms are `nil`."
  @type limit :: %Limit{
          algorithm: atom,
          limit: pos_integer,
          per: period,
          burst: pos_integer | nil,
          sub_windows: pos_integer | nil,
          aligned: boolean | nil,
          enforce: boolean
        }

  @typedoc "The answer to a call. `:unavailable` only during an outage of Redis, with `on_outage: :deny`,
  and while an instance with `shutdown: [admit: false]` stops."
  @type answer ::
          {:ok, Usage.t()}
          | {:error, :rate_limited, Usage.t()}
          | {:error, :unavailable, Usage.t()}

  @typedoc "Whether an instance works without restrictions. See `health_check/1`."
  @type health ::
          :ok
          | {:degraded,
             {:redis, [map] | String.t()}
             | {:store, String.t()}
             | {:full, [limiter]}
             | {:evicts, [map]}
             | {:heartbeat, String.t()}
             | {:clock, ms :: integer}
             | {:checkpoint, String.t()}}
          | {:error, :not_running | :stopping}

  @plan [plan: [type: Plan.type()]]
  @call [cost: [type: :integer, default: 1]] ++ @plan
  @check @call ++
           [
             request_id: [type: :string],
             request_ttl: [type: Limit.period(), default: {10, :minute}]
           ]

  @await @call ++ [timeout: [type: {:or, [:milliseconds, {:in, [0, :infinity]}]}, default: 5_000]]

  @top [by: [type: {:in, [:calls, :denied]}, default: :calls]]

  @doc "Returns the child specification of an instance. Takes the options of `start_link/1`."
  @spec child_spec(keyword | map) :: Supervisor.child_spec()
  def child_spec(options) do
    # Invalid options are reported by `start_link/1`.
    name =
      if Options.named?(options), do: Access.get(options, :name, __MODULE__), else: __MODULE__

    %{id: name, start: {__MODULE__, :start_link, [Config.hide(options)]}, type: :supervisor}
  end

  @doc """
  Starts an instance, linked to the calling process.

  Returns `{:ok, pid}`, or `{:error, {:already_started, pid}}`. Several instances may run on a node, each with its own
  name and with limiters of different names.

  ## Options

  #{Config.docs()}

  Changes at run time (`add_limiter/3`, `remove_limiter/1`, `update_limit/3`, `RateLimiter.Limits`) are kept until the instance
  stops: it always starts with its options, and the present content of `:limits`.

  ## Examples

      iex> limiters = [mail: [windows: [hourly: [limit: 100, per: :hour]]]]
      iex> {:ok, pid} = RateLimiter.start_link(name: {:tenant, 7}, limiters: limiters)
      iex> RateLimiter.health_check({:tenant, 7})
      :ok
      iex> Supervisor.stop(pid)
      :ok

  Raises `ArgumentError` for an invalid option, and for the name of a limiter that another instance has:

      iex> RateLimiter.start_link(limiters: [mail: [windows: [hourly: [limit: "5", per: :hour]]]])
      ** (ArgumentError) limiters.mail.windows.hourly.limit: expected a positive integer, got: "5"
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options), do: options |> Config.new!() |> Instance.Supervisor.start_link()

  @doc "Charges a cost of 1 to every window of a limiter. See `check_and_track/4`."
  @spec check_and_track(limiter, id) :: answer
  def check_and_track(limiter, id), do: Store.check(limiter, id, [], 1)

  @doc """
  Charges a cost of 1 to one window, or to several windows. See `check_and_track/4`.

  The third argument may also be the options of `check_and_track/4`, for a call on every window.

      iex> {:ok, usage} = RateLimiter.check_and_track(:login, {"tenant 5", 81}, :attempts)
      iex> usage.remaining
      4

      iex> {:ok, usage} = RateLimiter.check_and_track(:api, "user 1", cost: 5)
      iex> {usage.window, usage.remaining}
      {:minute, 55}
  """
  @spec check_and_track(limiter, id, windows | keyword) :: answer
  def check_and_track(limiter, id, window) when is_atom(window),
    do: Store.check(limiter, id, window, 1)

  def check_and_track(limiter, id, [{_, _} | _] = options),
    do: take(limiter, id, [], options)

  def check_and_track(limiter, id, windows), do: Store.check(limiter, id, windows, 1)

  @doc """
  Charges the cost of a call to windows if their limits allow it, in one atomic step.

  Returns `{:ok, usage}`, or `{:error, :rate_limited, usage}` for a denied call, which consumes nothing. A denial is never
  an exception. During an outage of Redis a limiter with `on_outage: :deny` returns
  `{:error, :unavailable, usage}`.

  Several windows are decided together: either all are charged or no window is, and no other call is decided in between. The empty
  list stands for all windows of the limiter. The usage is that of the window that denied or, if the call was admitted,
  of the window with the least left.

  ## Options

    * `:cost` - the cost of the call, any integer. Default: `1`. `0` consumes nothing. A cost that is negative or above
      the maximum of a window is always denied, with `retry_after_ms: :infinity`.
    * `:request_id` - any binary that identifies the call among those of its id. When an admitted call is repeated with
      the same `:request_id`, cost and windows, it is admitted again and consumes nothing, so a retry is not charged twice.
      With another cost or other windows it is another call. A denied call, or one that consumed nothing, is not
      remembered, and `reset/3` and `refund/4` end the request ids of their id.
    * `:request_ttl` - how long the `:request_id` is remembered, a period. Default: `{10, :minute}`.
    * `:plan` - the plan of the id: a name, or other limits by window, such as `[minute: [limit: 90]]`. Default: the limits
      of the limiter. See `put_plan/3`.

  ## Examples

      iex> {:ok, usage} = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 2)
      iex> usage.remaining
      3

      iex> {:ok, usage} = RateLimiter.check_and_track(:api, "ann", [:minute, :day], cost: 5)
      iex> {usage.window, usage.remaining, usage.windows.day.remaining}
      {:minute, 55, 9_995}

  A repeated request is charged once:

      iex> options = [cost: 2, request_id: "order 7"]
      iex> {:ok, _usage} = RateLimiter.check_and_track(:login, "bob", :attempts, options)
      iex> {:ok, usage} = RateLimiter.check_and_track(:login, "bob", :attempts, options)
      iex> usage.remaining
      3

  Raises `ArgumentError` if the limiter or a window does not exist, the id is `nil` or no valid id, or an option is
  invalid. A value that a remote user controls never raises: every binary is an id, and every integer is a cost.
  """
  @spec check_and_track(limiter, id, windows, keyword) :: answer
  def check_and_track(limiter, id, windows, options), do: take(limiter, id, windows, options)

  @doc "Charges a cost of 1 to every window of a limiter, and returns whether the call was admitted. See `allow?/4`."
  @spec allow?(limiter, id) :: boolean
  def allow?(limiter, id), do: Store.allow?(limiter, id, [], 1)

  @doc "As `allow?/4`, with windows or with options."
  @spec allow?(limiter, id, windows | keyword) :: boolean
  def allow?(limiter, id, window) when is_atom(window), do: Store.allow?(limiter, id, window, 1)
  def allow?(limiter, id, [{_, _} | _] = options), do: allow?(limiter, id, [], options)
  def allow?(limiter, id, windows), do: Store.allow?(limiter, id, windows, 1)

  @doc """
  Does what `check_and_track/4` does, and returns only whether the call was admitted.

  Takes the same options, counts and emits the same events, and raises the same errors. For one window of a limiter in
  memory with `events: :denials` or `:none`, it is the cheapest call: an admitted one builds no usage. `false` may also mean
  `:unavailable`, during an outage of Redis with `on_outage: :deny`.

      iex> for _ <- 1..6, do: RateLimiter.allow?(:login, "ann", :attempts)
      [true, true, true, true, true, false]
  """
  @spec allow?(limiter, id, windows | [], keyword) :: boolean
  def allow?(limiter, id, windows, []), do: Store.allow?(limiter, id, windows, 1)
  def allow?(limiter, id, windows, cost: cost), do: Store.allow?(limiter, id, windows, cost)

  def allow?(limiter, id, windows, options),
    do: match?({:ok, _usage}, take(limiter, id, windows, options))

  @doc "Waits until every window of a limiter admits a cost of 1. See `await/4`."
  @spec await(limiter, id) :: {:ok, Usage.t()} | {:error, :timeout, Usage.t()}
  def await(limiter, id), do: await(limiter, id, [], [])

  @doc "As `await/4`, with windows or with options."
  @spec await(limiter, id, windows | keyword) :: {:ok, Usage.t()} | {:error, :timeout, Usage.t()}
  def await(limiter, id, [{_, _} | _] = options), do: await(limiter, id, [], options)
  def await(limiter, id, windows), do: await(limiter, id, windows, [])

  @doc """
  Charges the cost of a call to windows as soon as their limits allow it.

  For workers, and for clients of other services: they should wait for their turn, not be turned away. Callers of this node
  that name the same id and the same windows are admitted in the order in which they came. A caller that exits while it waits
  has taken nothing, and the next one moves up.

  Returns `{:ok, usage}`; or `{:error, :timeout, usage}`, as soon as it is known that the call cannot be admitted within
  `:timeout`, which may be at once: `usage.retry_after_ms` is then the least time that it would have to wait, with the callers
  before it counted. The calls of other functions do not wait, and may take what a waiting caller hopes for. An outage of
  Redis under `on_outage: :deny` is waited for like any other denial. Over Redis, each node has an order of its own.

  A waiting caller first looks whether it would be admitted, so it counts as denied once or twice, not each time it looks.

  ## Options

    * `:cost` - as for `check_and_track/4`. A cost that no limit can admit is not waited for.
    * `:timeout` - the longest wait in milliseconds, or `:infinity`. Default: `5_000`.
    * `:plan` - as for `check_and_track/4`.

  ## Examples

      iex> {:ok, usage} = RateLimiter.await(:login, "ann", :attempts, cost: 5)
      iex> usage.remaining
      0
      iex> {:error, :timeout, usage} = RateLimiter.await(:login, "ann", :attempts, timeout: 500)
      iex> usage.retry_after_ms
      720_000
  """
  @spec await(limiter, id, windows | [], keyword) ::
          {:ok, Usage.t()} | {:error, :timeout, Usage.t()}
  def await(limiter, id, windows, options) do
    %{cost: cost, timeout: timeout, plan: plan} = Options.validate!(options, @await, [])
    Await.call(limiter, id, windows, cost, timeout, plan)
  end

  @doc """
  Decides many calls on one limiter, each by itself, in the order of the list.

  Takes entries `{id, cost}` and returns a list of answers like those of `check_and_track/4`. This is cheaper than as
  many single calls (with Redis it takes one round trip), and does not block a scheduler, even with thousands of
  entries. Takes the option `:plan`, the plan of all of them.

      iex> entries = [{"ann", 1}, {"ann", 3}]
      iex> [{:ok, first}, {:ok, second}] = RateLimiter.check_batch(:login, entries, :attempts)
      iex> {first.remaining, second.remaining}
      {4, 1}

  Raises `ArgumentError`, and charges nothing, if an entry has an invalid id or cost.
  """
  @spec check_batch(limiter, [{id, cost :: integer}], windows | [], keyword) :: [answer]
  def check_batch(limiter, entries, windows \\ [], options \\ []),
    do: Store.check_batch(limiter, entries, windows, only_plan(options))

  @doc """
  Returns what `check_and_track/4` would return, and consumes nothing.

  Takes the options `:cost`, default `1`, and `:plan`.

      iex> {:error, :rate_limited, usage} = RateLimiter.peek(:login, "ann", :attempts, cost: 6)
      iex> usage.remaining
      5
  """
  @spec peek(limiter, id, windows | keyword, keyword) :: answer
  def peek(limiter, id, windows \\ [], options \\ [])

  def peek(limiter, id, [{_, _} | _] = options, []),
    do: peek(limiter, id, [], options)

  def peek(limiter, id, windows, options),
    do: Store.peek(limiter, id, windows, cost(options), plan(options))

  @doc """
  Returns the usage of an id, and consumes nothing.

  Returns `{:ok, usage}`, also if nothing is left, and for an unknown id. Takes the option `:plan`.

      iex> {:ok, usage} = RateLimiter.get_usage(:login, "ann", :attempts)
      iex> {usage.current, usage.remaining}
      {0, 5}
  """
  @spec get_usage(limiter, id, windows | keyword, keyword) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def get_usage(limiter, id, windows \\ [], options \\ [])

  def get_usage(limiter, id, [{_, _} | _] = options, []),
    do: get_usage(limiter, id, [], options)

  def get_usage(limiter, id, windows, options),
    do: Store.peek(limiter, id, windows, 0, only_plan(options))

  @doc """
  Returns the usage of each of many ids, in the order of the list. Takes the option `:plan`, the plan of all of them.

  With Redis this takes one round trip, and returns `{:error, :unavailable, nil}` during an outage if the limiter has
  `on_outage: :deny`.

      iex> {:ok, usages} = RateLimiter.get_usage_batch(:login, ["ann", "bob"], :attempts)
      iex> for {id, usage} <- usages, do: {id, usage.remaining}
      [{"ann", 5}, {"bob", 5}]
  """
  @spec get_usage_batch(limiter, [id], windows | [], keyword) ::
          {:ok, [{id, Usage.t()}]} | {:error, :unavailable, nil}
  def get_usage_batch(limiter, ids, windows \\ [], options \\ []),
    do: Store.usage_batch(limiter, ids, windows, only_plan(options))

  @doc """
  Gives back what a call was charged. See `refund/2`.

      iex> {:ok, usage} = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 5)
      iex> {:ok, usage} = RateLimiter.refund(usage)
      iex> usage.remaining
      5
  """
  @spec refund(Usage.t()) :: {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def refund(%Usage{} = usage), do: Store.give_back(usage, usage.cost)
  def refund(other), do: no_receipt!(other)

  @doc """
  Gives back what a call was charged and did not need, or a cost of 1 to every window of a limiter.

  With the usage in the answer to an admitted call, gives back the option `:cost` of that call, by default all of it. In all at
  most what the call was charged is given back, and at most what still counts of that very call, so no window admits more
  than its limit of what was not given back. Of a token bucket, what has refilled since the call is not given back. Nothing is
  given back, and `{:ok, usage}` returned, if nothing of the call counts any more: the window has forgotten it, `reset/3` or
  `refund/4` was called for its id, `update_limit/3` has changed its window, the last call of its id was under a plan of
  another rate or period, or its limiter was started again. A limiter in
  memory knows the calls of its own node, Redis those of all nodes.

      iex> {:ok, usage} = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 4)
      iex> {:ok, after_refund} = RateLimiter.refund(usage, cost: 3)
      iex> after_refund.remaining
      4
      iex> {:ok, after_refund} = RateLimiter.refund(usage, cost: 3)
      iex> after_refund.remaining
      5

  Returns `{:error, :unavailable, usage}`, and gives back nothing, if the fallback has admitted the call, during an outage of
  Redis (repeat it then: nothing is given back twice), or if a full limiter has no room to remember the refund.

  Raises `ArgumentError` for a usage of anything but an admitted call.
  """
  @spec refund(Usage.t() | limiter, keyword | id) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def refund(%Usage{} = usage, []), do: Store.give_back(usage, usage.cost)

  def refund(%Usage{} = usage, options),
    do: Store.give_back(usage, Options.validate!(options, [cost: @call[:cost]], []).cost)

  def refund(answer, _options) when is_tuple(answer), do: no_receipt!(answer)
  def refund(limiter, id), do: refund(limiter, id, [], [])

  @spec no_receipt!(term) :: no_return
  defp no_receipt!(other) do
    raise ArgumentError,
          "expected the usage of an admitted call, as in {:ok, usage}, got: #{Options.show(other)}"
  end

  @doc """
  Gives a cost back to an id, without regard to the call that it was charged for.

  Takes the options `:cost`, default `1`, and `:plan`. Returns `{:ok, usage}` with the usage after it. A cost above what the id has
  used gives back what it has used; a negative cost gives back nothing. It assumes that what is given back still counts: if the
  window has forgotten the call, it gives back what other calls of the id have used. Where the answer to the call is at hand,
  use `refund/2`. All receipts and request ids of the id end.

  Returns `{:error, :unavailable, usage}`, and gives back nothing, if a full limiter judges the id together with other new ids
  (see `max_keys`). During an outage of Redis it may return the same, see `RateLimiter.Redis`.

      iex> {:ok, _usage} = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 5)
      iex> {:ok, usage} = RateLimiter.refund(:login, "ann", :attempts, cost: 2)
      iex> usage.remaining
      2
  """
  @spec refund(limiter, id, windows | keyword, keyword) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def refund(limiter, id, windows, options \\ [])

  def refund(limiter, id, [{_, _} | _] = options, []),
    do: refund(limiter, id, [], options)

  def refund(limiter, id, windows, options),
    do: Store.refund(limiter, id, windows, cost(options), plan(options))

  @doc """
  Deletes the usage of all ids of a limiter, and their request ids.

  Returns `:ok`. What `stats/1` has counted stays. In memory, each id is reset at its own moment, within some milliseconds; a call
  in the meantime comes before or after that. In Redis nothing is deleted: ids get other keys, and the old ones expire. The other
  nodes follow within a second, and count by the old keys until then, as does a node that is cut off; calls of the two seconds
  after a reset cannot be given back by `refund/2`. Returns
  `{:error, :unavailable, nil}`, and resets nothing, if Redis does not answer.

      iex> {:ok, _usage} = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 5)
      iex> RateLimiter.reset(:login)
      :ok
      iex> RateLimiter.allow?(:login, "ann", :attempts)
      true

  Raises `ArgumentError` if the limiter does not exist, or is in a store of your own (`RateLimiter.Store`), which is not asked for
  its keys.
  """
  @spec reset(limiter) :: :ok | {:error, :unavailable, nil}
  def reset(limiter) do
    %Instance{name: name} = instance = Registry.holder!(limiter)

    with :ok <- forget(instance, limiter), do: Telemetry.limiter_reset(name, limiter)
  end

  defp forget(%Instance{store: :local} = instance, limiter) do
    with {handle, _config} <- Instance.fetch(instance, limiter),
         :ok <- Store.forget(handle),
         do: :ok,
         else: (_removed -> raise(Registry.unknown_limiter(limiter)))
  end

  defp forget(%Instance{store: {:store, _store}}, limiter), do: raise(Errors.no_reset(limiter))

  defp forget(instance, limiter) do
    with {:error, _reason} <- Cluster.reset(instance, limiter), do: {:error, :unavailable, nil}
  end

  @doc """
  Deletes the usage of an id, and its request ids.

  Returns `:ok`, also for an unknown id. Returns `{:error, :unavailable, nil}`, and deletes nothing, if a full limiter judges
  the id together with other new ids, whose usage cannot be told apart; and during an outage of Redis, because one node
  cannot delete what all nodes share.

      iex> RateLimiter.reset(:login, "ann")
      :ok
  """
  @spec reset(limiter, id, windows | []) :: :ok | {:error, :unavailable, nil}
  def reset(limiter, id, windows \\ []), do: Store.reset(limiter, id, windows)

  @doc """
  Changes the limit of a window at run time, and keeps what ids have used.

  Takes at least one of `:limit`, `:per`, `:burst` and `:enforce`. A burst that was not configured follows the limit.
  `enforce: false` turns shadow mode on, `enforce: true` off.

      iex> {:ok, _usage} = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 4)
      iex> RateLimiter.update_limit(:login, :attempts, limit: 10)
      :ok
      iex> {:ok, usage} = RateLimiter.get_usage(:login, "ann", :attempts)
      iex> {usage.max, usage.current}
      {10, 4}

  Raises `ArgumentError` if the limiter or the window does not exist, or the algorithm cannot have this limit.
  """
  @spec update_limit(limiter, window :: atom, keyword) :: :ok
  def update_limit(limiter, window, changes),
    do: limiter |> Registry.holder!() |> Writer.change!({:update, limiter, window, changes})

  @doc """
  Adds a plan to a limiter, or replaces the plan of this name: other limits for its windows.

  A call names the plan of its id with the option `:plan`. Takes the changes of each window, at least one of `:limit`, `:per`,
  `:burst` and `:enforce`; the rest is that of the limiter, also after `update_limit/3`. A burst that was not configured follows the
  limit. `:per` is for token buckets only: windows and logs count in the period of the limiter under all plans.

  What an id has used stays used when its plan changes, or a plan is replaced, as with `update_limit/3`. No usage is
  touched, so a plan for a single customer is as good as any, and a limiter may have thousands. With Redis each node has plans
  of its own, and each call is decided by the limits that its node knows.

      iex> RateLimiter.put_plan(:login, :pro, attempts: [limit: 50])
      :ok
      iex> {:ok, _usage} = RateLimiter.check_and_track(:login, "ann", :attempts, cost: 4)
      iex> {:ok, usage} = RateLimiter.check_and_track(:login, "ann", :attempts, plan: :pro)
      iex> {usage.max, usage.current, usage.plan}
      {50, 5, :pro}

  A call may also give the numbers themselves. This takes some microseconds more than a name:

      iex> {:ok, usage} = RateLimiter.check_and_track(:login, "bob", :attempts, plan: [attempts: [limit: 7]])
      iex> usage.remaining
      6

  Raises `ArgumentError` if the limiter or a window does not exist, or the algorithm cannot have this limit.
  """
  @spec put_plan(limiter, plan_name, keyword) :: :ok
  def put_plan(limiter, name, changes) do
    name = Plan.name!(name, Config.path!(limiter, [:plans]))
    limiter |> Registry.holder!() |> Writer.change!({:put_plan, limiter, name, changes})
  end

  @doc """
  Removes a plan from a limiter. What ids have used under it stays used.

      iex> RateLimiter.put_plan(:login, "customer 7", attempts: [limit: 50])
      iex> RateLimiter.remove_plan(:login, "customer 7")
      :ok

  Raises `ArgumentError` if the limiter or the plan does not exist.
  """
  @spec remove_plan(limiter, plan_name) :: :ok
  def remove_plan(limiter, name),
    do: limiter |> Registry.holder!() |> Writer.change!({:remove_plan, limiter, name})

  @doc """
  Returns the plans of a limiter, by name.

      iex> RateLimiter.put_plan(:login, :pro, attempts: [limit: 50])
      iex> RateLimiter.plans(:login)
      %{pro: [attempts: [limit: 50]]}

  Raises `ArgumentError` if the limiter does not exist.
  """
  @spec plans(limiter) :: %{plan_name => [{window :: atom, keyword}]}
  def plans(limiter), do: limiter |> Registry.holder!() |> Plans.all(limiter) |> Map.new()

  @doc """
  Adds a limiter to a running instance, which is the last argument or the option `:instance`.

  The other options are those of a limiter in `start_link/1`.

      iex> RateLimiter.add_limiter(:uploads, windows: [daily: [limit: 20, per: :day]])
      :ok

  Raises `ArgumentError` if an option is invalid, another limiter has this name, or the instance is not running.
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
  Removes a limiter and its counts from its instance.

      iex> RateLimiter.remove_limiter(:api)
      :ok

  Raises `ArgumentError` if the limiter does not exist.
  """
  @spec remove_limiter(limiter) :: :ok
  def remove_limiter(name), do: name |> Registry.holder!() |> Writer.change!({:remove, name})

  @doc """
  Returns the limiters of an instance with their windows: the configured limit, and as `:max` the current maximum.

      iex> limiters = RateLimiter.limiters()
      iex> limiters[:login].windows[:attempts]
      %{algorithm: :token_bucket, limit: 5, per: :hour, burst: 5, max: 5}

  Raises `ArgumentError` if the instance is not running.
  """
  @spec limiters(instance :: term) :: [{limiter, map}]
  def limiters(instance \\ __MODULE__), do: instance |> Registry.fetch!() |> Reporter.limiters()

  @doc """
  Returns whether an instance works without restrictions.

  Returns `:ok`, `{:error, :not_running}`, `{:error, :stopping}` from the moment at which the instance begins to stop, if it has
  a Redis store or `shutdown: [admit: false]`, or `{:degraded, reason}` with one of these reasons:

    * `{:redis, servers}` - the Redis servers that do not receive calls now, or have not answered more than one in ten of
      the last five seconds, each a map as in `RateLimiter.Redis`, with a `:problem` in words; or `{:redis, words}` if no
      server is known.
    * `{:store, words}` - the `RateLimiter.Store` of the instance does not answer, and why.
    * `{:full, limiters}` - limiters whose number of ids has reached `:max_keys` (timestamps of a log count, too). These
      ids stay exact, and new ids are counted together with others until some expire.
    * `{:evicts, servers}` - Redis servers that evict keys when their memory is full, by the policy in `:evicts`. An
      evicted key loses its usage. Set `maxmemory-policy noeviction` there.
    * `{:heartbeat, words}` - Redis refuses the heartbeats by which nodes count each other. Until that is mended, this node
      divides limits by the option `:nodes` in an outage. Compare the rights of its user with the guide to Redis.
    * `{:clock, ms}` - the system's clock was set, by `ms`, more than two seconds. Aligned windows in memory follow within
      about ten seconds, and begin that much late until then. Reported until the next sweep has ended, for up to twenty seconds.
    * `{:checkpoint, words}` - the last checkpoint could not be written, or the newest one was not read at the start.
      Reported until one is written.

  ## Examples

      iex> RateLimiter.health_check()
      :ok
      iex> RateLimiter.health_check(:unknown)
      {:error, :not_running}
  """
  @spec health_check(instance :: term) :: health
  def health_check(instance \\ __MODULE__),
    do: instance |> Registry.instance() |> Reporter.health()

  @doc """
  Returns the counts of an instance.

  The map has totals, the same numbers of each limiter in `:limiters`, and the `:store`:

    * `:keys`, `:request_ids` and `:memory` - the ids and the request ids in memory, and its bytes, now.
    * `:checks`, `:denials`, `:overflowed` and `:swept` - decided calls, denied calls, calls of ids that were
      counted together with others, and expired ids of both kinds that were removed, since the start.
    * `:windows`, of each limiter only - the calls of each window: `:allowed`, `:denied` and `:unavailable`, `:thresholds`
      (calls that emitted `[:rate_limiter, :threshold]`), `:would_deny` (admitted calls that the window would have denied if it
      was enforced), and `:sources`, the allowed and denied calls by what decided
      them, as `:source` of `RateLimiter.Usage`. A call on several windows counts once, under the window that denied it or
      has the least left.

  With the option `:checkpoint` it has `:checkpoint`, a map with the `:keys` and `:bytes` of the last file, its `:age_ms`
  (`nil` before the first one of this start), and a `:problem` in words or `nil`.

  With Redis it has more, see [Counts](`m:RateLimiter.Redis#module-counts`), and with a store of your own, see
  [Counts](`m:RateLimiter.Store#module-counts`).

  ## Examples

      iex> RateLimiter.check_and_track(:login, "ann", :attempts)
      iex> stats = RateLimiter.stats()
      iex> {stats.store, stats.checks, stats.limiters.login.keys}
      {:local, 1, 1}
      iex> stats.limiters.login.windows.attempts.allowed
      1

  Raises `ArgumentError` if the instance is not running.
  """
  @spec stats(instance :: term) :: map
  def stats(instance \\ __MODULE__), do: instance |> Registry.fetch!() |> Reporter.stats()

  @doc """
  Returns the ids that call a window most, or are denied most, in the last one to two minutes.

  The limiter counts them only with the option `top:`, the number of ids that it counts in each window. Returns at most
  `count` maps, the highest count first: `:calls` and `:denied` are calls on this node, `:denied` those that this window
  denied, or would have denied if it is in shadow mode.

  With `top: m` and `n` calls in that time, a count is never too high, and too low by at most `n / m`. So every id with
  more than `n / m` calls is among those that are counted. The same holds for denied calls, with the number of these.

  `:id` is the id if the limiter has `ids: :keep`, and else its hash, see `id_hash/1`. Of an id with more than 256 bytes it
  is the hash, too.

  ## Options

    * `:by` - `:calls` or `:denied`, the count that decides. Default: `:calls`.

  ## Examples

      iex> window = [limit: 2, per: :minute]
      iex> RateLimiter.add_limiter(:search, windows: [minute: window], top: 100, ids: :keep)
      iex> for id <- ["ann", "bob", "ann", "ann"], do: RateLimiter.allow?(:search, id)
      [true, true, true, false]
      iex> RateLimiter.top(:search, :minute, 1)
      [%{id: "ann", calls: 3, denied: 1}]
      iex> RateLimiter.top(:search, :minute, 10, by: :denied) |> Enum.map(& &1.id)
      ["ann", "bob"]

  Raises `ArgumentError` if the limiter or the window does not exist, or the limiter has no `top:`.
  """
  @spec top(limiter, window :: atom, count :: pos_integer, keyword) :: [
          %{id: id, calls: non_neg_integer, denied: non_neg_integer}
        ]
  def top(limiter, window, count \\ 10, options \\ [])
      when is_atom(limiter) and is_atom(window) and is_integer(count) and count > 0 do
    %{by: by} = Options.validate!(options, @top, [])
    with :off <- Callers.most(limiter, window, by, count), do: raise(Errors.no_top(limiter))
  end

  @doc """
  Returns the hash by which `top/4` names an id that is not kept, on this node and until it restarts.

  It is not the `:id_hash` of events.

      iex> RateLimiter.id_hash("ann") == RateLimiter.id_hash("ann")
      true

  Raises `ArgumentError` for an invalid id.
  """
  @spec id_hash(id) :: String.t()
  def id_hash(id), do: Callers.hash(id)

  defp take(limiter, id, windows, cost: cost), do: Store.check(limiter, id, windows, cost)
  defp take(limiter, id, windows, []), do: Store.check(limiter, id, windows, 1)

  defp take(limiter, id, windows, plan: plan) when is_atom(plan) or is_binary(plan),
    do: Store.check_under(limiter, id, windows, 1, plan)

  defp take(limiter, id, windows, cost: cost, plan: plan) when is_atom(plan) or is_binary(plan),
    do: Store.check_under(limiter, id, windows, cost, plan)

  defp take(limiter, id, windows, options) do
    case Options.validate!(options, @check, []) do
      %{request_id: nil, cost: cost, plan: plan} ->
        Store.check_under(limiter, id, windows, cost, plan)

      %{request_id: request, cost: cost, request_ttl: ttl, plan: plan} ->
        Store.check_once(limiter, id, windows, cost, {request, Limit.nanoseconds(ttl)}, plan)
    end
  end

  defp cost(cost: cost), do: cost
  defp cost([]), do: 1
  defp cost(options), do: Options.validate!(options, @call, []).cost

  # Of the options of a call, whose cost `cost/1` validates.
  defp plan([]), do: nil
  defp plan(cost: _cost), do: nil
  defp plan(options), do: Options.validate!(options, @call, []).plan

  defp only_plan([]), do: nil
  defp only_plan(options), do: Options.validate!(options, @plan, []).plan

  defp pop_instance(options, instance) do
    if Options.named?(options),
      do: options |> Enum.to_list() |> Keyword.pop(:instance, instance),
      else: {instance, options}
  end
end
