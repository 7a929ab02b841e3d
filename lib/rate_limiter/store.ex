defmodule RateLimiter.Store do
  @moduledoc """
  A store of your own: limits that hold across all nodes, counted in a database that the application already has.

      {RateLimiter,
       store: {MyApp.LimitStore, table: "limits", nodes: 3},
       limiters: [api: [windows: [burst: [limit: 100, per: :second]], on_outage: :share]]}

  A store replaces the value of one key in one step, and knows nothing of limits: what is in a value, and what the next value
  is, is decided by a function that it is given. The guide to stores has one in thirty lines, and how to test one
  (`RateLimiter.Store.Conformance`).

  Everything else is the same as with Redis, and the same code: calls that wait go together as a batch, a denial is
  repeated from memory, and an outage is answered by this node's share of the limit (`:on_outage`), which is charged when
  the store is back. A store that raises, hangs or returns nonsense delays no caller beyond `:timeout`, and raises in none.
  Answers have `source: :store`.

  ## What a store has to do

  `c:update/3` is the whole of it. It passes the present value of the key, or `nil`, to the function, which returns

    * `{:put, value, ttl_ms, reply}` - store this value, and forget it when so many milliseconds have passed, or later;
    * `{:delete, reply}` - remove the key;
    * `{:keep, reply}` - leave it as it is.

  Then it returns `{:ok, reply}`, but only if the value was not changed by another process or node since it was read.
  If it was, it begins again: the function is pure, and may run as often as needed. Only the reply of the last run counts.

  A limit is exact as long as this step is atomic, and as long as values that were stored are not lost. A store that loses a value before its
  time forgets what was used, and admits up to the limit again.

  ## Clocks

  By default the clock of the node counts: if the clocks of two nodes differ by `d`, a caller that uses both can get what refills
  in `d` on top of the limit. A store that has a clock of its own exports `c:now/1`, or passes `{value, now_us}` instead of
  the value to the function, with the time at which it was read. Then all nodes count by that clock.

  ## Counts

  The counts of such limiters in `RateLimiter.stats/1` are those that limiters in Redis have, see
  [Counts](`m:RateLimiter.Redis#module-counts`). The map has the `:breaker` and, instead of `:redis`, a map of the `:client`: `:workers`
  that have started, `:pending` calls, a `:problem` in words, `:nodes`, and totals since the start, `:calls`, the
  `:batches` that they were sent in, `:timeouts`, `:refused` (calls that ended with an error), `:unsent`, and how often the breaker `:opened`.

  ## Options

  These belong to this library. All others are passed to `c:init/1`.

  #{RateLimiter.Store.Config.docs()}
  """

  # Beside the behaviour, this module is the fast loop: the only caller of the native functions that decide calls, and of
  # those that make and change limiters.
  #
  # A call names its limiter, and the native library knows the names. A local limiter answers in the one crossing, and
  # so does a shared limiter that knows the answer. Otherwise the crossing has sent the request to the authority, and
  # `RateLimiter.Store.Request` waits for its answer.

  require RateLimiter.Core.Plan

  alias RateLimiter.{Telemetry, Usage}
  alias RateLimiter.Core.{Errors, Limit, Native, Plan}
  alias RateLimiter.Store.{Answer, Counts, Id, Lookup, Request}

  @typedoc false
  @type windows :: Lookup.names()
  @typedoc false
  @type answer :: RateLimiter.answer()
  @typedoc false
  @type request_id :: {id :: binary, keep_ns :: pos_integer}

  @unit 1_000_000
  @max_cost 0x7FFF_FFFF_FFFF_FFFF

  defguardp is_call(limiter, cost) when is_atom(limiter) and is_integer(cost)

  @compile {:inline, bounded: 1, decided: 6}

  ## The behaviour

  @typedoc "What `c:init/1` has returned."
  @type state :: term

  @typedoc "A value of at most some kilobytes. Its layout has a version, and belongs to this library."
  @type value :: binary

  @typedoc "Returned by a store as it is. It must not be stored."
  @type reply :: reference

  @typedoc "What a store has to do with the value of a key."
  @type decision ::
          {:put, value, ttl_ms :: pos_integer, reply} | {:delete, reply} | {:keep, reply}

  @typedoc "The value that a key has now, and the time in microseconds since 1970 if the store's clock counts."
  @type present :: value | nil | {value | nil, now_us :: non_neg_integer}

  @doc """
  Opens the store when an instance starts, in a process that lives as long as the instance.

  Returns `{:ok, state}`, which the other callbacks get, or `{:error, reason}` for invalid options: then the instance does not start.
  A database that does not answer is no reason: it may be back before the first call.
  """
  @callback init(options :: keyword) :: {:ok, state} | {:error, reason :: term}

  @doc """
  Replaces the value of a key by what the function makes of it, in one step. The function may run several times.

  Returns `{:ok, reply}`, or `{:error, reason}` if it is certain that nothing was stored. If that is uncertain, as after a lost
  connection, it raises. It has `:timeout` milliseconds; then its process is killed.
  """
  @callback update(state, key :: binary, (present -> decision)) ::
              {:ok, reply} | {:error, reason :: term}

  @doc """
  Updates several different keys, each as `c:update/3` does, and returns a result for each, in order.

  Export it if the store can do that in fewer round trips. The keys need not change together.
  """
  @callback update_many(state, [key :: binary, ...], (key :: binary, present -> decision)) :: [
              {:ok, reply} | {:error, reason :: term}
            ]

  @doc "Returns the time of the store's clock in microseconds since 1970. Called before each batch."
  @callback now(state) :: non_neg_integer

  @doc """
  Removes some of the values whose time is over, in a small step. Called once a second.

  Gets what the last step has returned, `nil` at first, to continue from there.
  """
  @callback sweep(state, last :: term) :: term

  @doc "Closes the store when the instance stops."
  @callback close(state) :: term

  @optional_callbacks update_many: 3, now: 1, sweep: 2, close: 1

  ## Calls. The first clauses of `check/4` and `allow?/4` are the hot path: no process, no look-up, no closure.

  # Takes `cost` from the windows, all or nothing.
  @doc false
  @spec check(atom, RateLimiter.id(), windows, integer) :: answer
  def check(limiter, id, window, cost) when is_call(limiter, cost) and is_atom(window),
    do:
      limiter
      |> Native.check(id, window, bounded(cost))
      |> decided(limiter, id, window, cost, nil)

  def check(limiter, id, windows, cost), do: check_once(limiter, id, windows, cost, nil, nil)

  # As `check/4`, under a plan.
  @doc false
  @spec check_under(atom, RateLimiter.id(), windows, integer, Plan.chosen()) :: answer
  def check_under(limiter, id, window, cost, plan)
      when is_call(limiter, cost) and is_atom(window) and Plan.is_name(plan) do
    limiter
    |> Native.check_under(id, window, bounded(cost), plan)
    |> decided(limiter, id, window, cost, plan)
  end

  def check_under(limiter, id, windows, cost, plan),
    do: check_once(limiter, id, windows, cost, nil, plan)

  # As `check/4`, but returns only whether the call was admitted.
  @doc false
  @spec allow?(atom, RateLimiter.id(), windows, integer) :: boolean
  def allow?(limiter, id, window, cost) when is_call(limiter, cost) and is_atom(window) do
    case Native.allow(limiter, id, window, bounded(cost)) do
      true -> true
      answer -> match?({:ok, _usage}, decided(answer, limiter, id, window, cost, nil))
    end
  end

  def allow?(limiter, id, windows, cost),
    do: match?({:ok, _usage}, check_once(limiter, id, windows, cost, nil, nil))

  defp decided(
         {:ok, events, _, _, _, _, _, _, at, serial} = answer,
         limiter,
         id,
         window,
         cost,
         plan
       ) do
    receipt = {limiter, id, window, cost, at, serial, nil}
    usage = Usage.from_window(answer, limiter, window, cost, receipt, plan)
    Telemetry.allowed(usage, events, id)
    {:ok, usage}
  end

  defp decided(
         {:rate_limited, events, _, _, _, _, _, _, _, _} = answer,
         limiter,
         id,
         window,
         cost,
         plan
       ) do
    usage = Usage.from_window(answer, limiter, window, cost, nil, plan)
    Telemetry.denied(usage, events, id)
    {:error, :rate_limited, usage}
  end

  defp decided(other, limiter, id, window, cost, plan) do
    other
    |> Request.answer(limiter, id, window, {:take, bounded(cost), nil, plan})
    |> Answer.decided(limiter, id, window, cost, nil, plan)
  end

  # As `check/4`. A request id that was admitted before is admitted again, and takes nothing.
  @doc false
  @spec check_once(
          atom,
          RateLimiter.id(),
          windows,
          integer,
          request_id | nil,
          Plan.chosen()
        ) :: answer
  def check_once(limiter, id, windows, cost, request_id, plan \\ nil) do
    limiter
    |> request(id, windows, cost, {:take, request_id, plan})
    |> Answer.decided(limiter, id, windows, cost, request_id && elem(request_id, 0), plan)
  end

  # Returns what `check/4` would return. Takes nothing, and emits no event.
  @doc false
  @spec peek(atom, RateLimiter.id(), windows, integer, Plan.chosen()) :: answer
  def peek(limiter, id, windows, cost, plan \\ nil) do
    limiter
    |> request(id, windows, cost, {:peek, nil, plan})
    |> Answer.looked(limiter, windows, cost, plan)
  end

  # Gives `cost` back, up to full.
  @doc false
  @spec refund(atom, RateLimiter.id(), windows, integer, Plan.chosen()) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def refund(limiter, id, windows, cost, plan \\ nil) do
    limiter
    |> request(id, windows, cost, {:refund, nil, plan})
    |> Answer.looked(limiter, windows, cost, plan)
  end

  # Gives back `cost` of the call whose answer has this usage: at most what still counts of that call.
  @doc false
  @spec give_back(Usage.t(), integer) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def give_back(usage, cost) do
    case Usage.receipt(usage) do
      nil ->
        raise Errors.no_receipt(usage)

      {limiter, id, windows, receipt} ->
        answer =
          limiter
          |> request(id, windows, cost, {:refund, receipt, usage.plan})
          |> Answer.looked(limiter, windows, cost, usage.plan)

        given_back(answer, usage.source, receipt)
    end
  end

  # This node alone has counted the call: what it will report to Redis stays as it is.
  defp given_back({:ok, usage}, :fallback, {_at, 0, _charged, _request}),
    do: {:error, :unavailable, usage}

  defp given_back(answer, _source, _receipt), do: answer

  # Forgets what an id has used.
  @doc false
  @spec reset(atom, RateLimiter.id(), windows) :: :ok | {:error, :unavailable, nil}
  def reset(limiter, id, windows) do
    with unavailable when is_tuple(unavailable) <-
           request(limiter, id, windows, 0, {:reset, nil, nil}),
         do: {:error, :unavailable, nil}
  end

  # Decides each entry by itself, in order. Takes nothing if one of them is invalid.
  @doc false
  @spec check_batch(atom, [{RateLimiter.id(), integer}], windows, Plan.chosen()) :: [answer]
  def check_batch(limiter, entries, windows, plan \\ nil) do
    answers = batch(limiter, entries, windows, {:take, plan})

    Enum.zip_with(entries, answers, fn {id, cost}, answer ->
      Answer.decided(answer, limiter, id, windows, cost, nil, plan)
    end)
  end

  # Returns what each id has used, in order.
  @doc false
  @spec usage_batch(atom, [RateLimiter.id()], windows, Plan.chosen()) ::
          {:ok, [{RateLimiter.id(), Usage.t()}]} | {:error, :unavailable, nil}
  def usage_batch(limiter, ids, windows, plan \\ nil) do
    entries = for id <- proper!(ids), do: {id, 0}
    answers = batch(limiter, entries, windows, {:peek, plan})

    if Enum.any?(answers, &match?({:unavailable, _, _, _}, &1)) do
      {:error, :unavailable, nil}
    else
      usages =
        for answer <- answers,
            do: answer |> Answer.usage(limiter, windows, 0) |> Usage.under(plan)

      {:ok, Enum.zip(ids, usages)}
    end
  end

  defp request(limiter, id, windows, cost, {op, about, plan}) when is_call(limiter, cost) do
    plan = Lookup.plan!(limiter, plan)
    Request.one(limiter, id, windows, {op, bounded(op, cost), about, plan})
  end

  defp request(limiter, _id, _windows, cost, _what), do: raise(Errors.bad_call(limiter, cost))

  defp batch(limiter, entries, windows, {op, plan}) when is_atom(limiter) do
    entries = entries |> proper!() |> Enum.map(&bounded_entry!/1)
    Request.batch(limiter, entries, windows, {op, Lookup.plan!(limiter, plan)})
  end

  defp batch(limiter, _entries, _windows, _how), do: raise(Errors.bad_call(limiter, 0))

  ## A limiter's life and name

  # Makes a limiter that this node decides. It lives as long as its owner.
  @doc false
  @spec new_limiter(RateLimiter.Instance.Config.limiter(), :monotonic | Native.clock()) ::
          {:ok, Native.handle(), Native.owner()} | Native.rejection()
  def new_limiter(%{windows: windows, events: events, max_keys: max_keys} = config, clock) do
    options = {events, max_keys, threshold_ppm(config[:threshold]), clock}
    Native.new_limiter(Enum.map(windows, &Limit.to_native/1), options)
  end

  # Makes a limiter of this name that the nodes of a Redis share. It lives here as long as its owner.
  @doc false
  @spec new_shared_limiter(RateLimiter.Instance.Config.limiter(), atom, Native.store()) ::
          {:ok, Native.handle(), Native.owner()} | Native.rejection() | Native.refusal()
  def new_shared_limiter(config, name, store) do
    %{windows: windows, events: events, max_keys: max_keys, on_outage: on_outage} = config
    options = {events, max_keys, threshold_ppm(config[:threshold]), on_outage}
    Native.new_shared_limiter(Enum.map(windows, &Limit.to_native/1), options, {store, name})
  end

  defp threshold_ppm(nil), do: nil
  defp threshold_ppm(share), do: share |> Kernel.*(@unit) |> round() |> max(1)

  @doc false
  defdelegate drop(owner), to: Native
  @doc false
  defdelegate bind(name, owner), to: Native
  @doc false
  defdelegate unbind(name, handle), to: Native
  @doc false
  defdelegate set_test_owned(name, owned?), to: Native
  @doc false
  defdelegate stop_admitting(name, handle), to: Native

  @doc false
  defdelegate handle(name), to: Native

  ## A limiter's limits and counts, by handle

  # Takes a cost of 1 from a limiter in memory that has no name, and returns whether it was admitted.
  @doc false
  @spec take?(Native.handle(), RateLimiter.id(), atom) :: boolean
  def take?(handle, id, window), do: Native.allow(handle, id, window, 1) == true

  # Returns the scale, and how much each window holds under it.
  @doc false
  @spec plan(Native.handle()) :: %{scale: float, maxima: %{atom => non_neg_integer}} | nil
  def plan(handle) do
    case Native.plan(handle) do
      {ppm, windows} -> %{scale: ppm / @unit, maxima: Map.new(windows)}
      :unknown_limiter -> nil
    end
  end

  # Changes the limits of some windows, all of them or none. Usage is kept.
  @doc false
  @spec update_limits(Native.handle(), [{atom, Limit.t()}]) :: :ok | {:error, String.t()}
  def update_limits(handle, windows),
    do: Native.update_limits(handle, Enum.map(windows, &Limit.to_native/1))

  # Returns how many ids are in memory, and how many of them these limits would deny that are admitted now.
  @doc false
  @spec preview(Native.handle(), [{atom, Limit.t()}]) ::
          {non_neg_integer, non_neg_integer} | {:error, String.t()}
  def preview(handle, windows),
    do: Native.preview(handle, Enum.map(windows, &Limit.to_native/1))

  # Forgets what all ids of a limiter in memory have used.
  @doc false
  @spec forget(Native.handle()) :: :ok | Native.refusal()
  defdelegate forget(handle), to: Native

  # Lets a limiter in Redis forget all ids: after a reset at another time they have other keys. It never goes back.
  @doc false
  @spec set_generation(Native.handle(), non_neg_integer) :: non_neg_integer | Native.refusal()
  defdelegate set_generation(handle, generation), to: Native

  # Adds plans, or replaces those of the same names.
  @doc false
  @spec put_plans(Native.handle(), [{Plan.name(), Plan.t()}]) :: :ok | {:error, String.t()}
  def put_plans(_handle, []), do: :ok

  def put_plans(handle, plans) do
    Native.put_plans(handle, for({name, plan} <- plans, do: {name, Plan.to_native(plan)}))
  end

  # Removes a plan.
  @doc false
  @spec remove_plan(Native.handle(), Plan.name()) :: boolean | Native.refusal()
  defdelegate remove_plan(handle, name), to: Native

  # Returns the size and the counts of a limiter.
  @doc false
  @spec stats(Native.handle()) :: map | nil
  def stats(handle) do
    case Native.stats(handle) do
      %{windows: _} = stats -> Counts.of_limiter(stats)
      :unknown_limiter -> nil
    end
  end

  # Returns how many places `sweep/2` inspects until it has visited all of a limiter.
  @doc false
  @spec slots(Native.handle()) :: non_neg_integer
  def slots(handle) do
    case Native.stats(handle) do
      %{slots: slots} -> slots
      :unknown_limiter -> 0
    end
  end

  # Returns whether there is no room for more ids, so that new ones are judged together.
  @doc false
  @spec full?(Native.handle()) :: boolean
  def full?(handle), do: Native.full(handle) == true

  # Visits about this many places, and removes idle ids.
  @doc false
  @spec sweep(Native.handle(), pos_integer) :: non_neg_integer | Native.refusal()
  defdelegate sweep(handle, max_slots), to: Native

  # Gives memory that limiters have freed back to the operating system.
  @doc false
  @spec release_memory() :: :ok
  defdelegate release_memory, to: Native

  ## A clock for tests

  @doc false
  defdelegate manual_clock(start_ns), to: Native
  @doc false
  defdelegate manual_clock_advance(clock, ns), to: Native
  @doc false
  defdelegate manual_clock_set(clock, ns), to: Native
  @doc false
  defdelegate manual_clock_now(clock), to: Native

  ## Costs as the native library takes them

  # A negative amount gives nothing back, and one of more than 64 bits gives all back.
  defp bounded(:refund, cost), do: cost |> max(0) |> min(@max_cost)
  defp bounded(_op, cost), do: bounded(cost)

  # Returns a cost for the native library. A cost that 64 bits cannot hold is above every maximum, and -1 means that.
  @doc false
  @spec bounded(integer) :: integer
  def bounded(cost) when cost >= 0 and cost <= @max_cost, do: cost
  def bounded(_cost), do: -1

  # All of them before the first is decided.
  defp bounded_entry!({id, cost}) when is_integer(cost) do
    if Id.valid?(id), do: {id, bounded(cost)}, else: raise(Errors.bad_id(id))
  end

  defp bounded_entry!(other), do: raise(Errors.bad_entry(other))

  defp proper!(list) do
    if is_list(list) and not List.improper?(list), do: list, else: raise(Errors.bad_list(list))
  end
end
