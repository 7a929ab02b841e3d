defmodule RateLimiter.Store do
  @moduledoc false
  # The fast loop: the only caller of the native functions that decide calls, and of those that make and change limiters.
  #
  # A call names its limiter, and the native library knows the names. A local limiter answers in the one crossing, and
  # so does a shared limiter that knows the answer. Otherwise the crossing has sent the request to the authority, and
  # `RateLimiter.Store.Request` waits for its answer.

  alias RateLimiter.{Telemetry, Usage}
  alias RateLimiter.Core.{Errors, Limit, Native}
  alias RateLimiter.Store.{Answer, Counts, Id, Lookup, Request}

  @type windows :: Lookup.names()
  @type answer :: RateLimiter.answer()
  @type request_id :: {id :: binary, keep_ns :: pos_integer}

  @unit 1_000_000
  @max_cost 0x7FFF_FFFF_FFFF_FFFF

  defguardp is_call(limiter, cost) when is_atom(limiter) and is_integer(cost)

  @compile {:inline, bounded: 1, decided: 5}

  ## Calls. The first clauses of `check/4` and `allow?/4` are the hot path: no process, no look-up, no closure.

  @doc "Takes `cost` from the windows, all or nothing."
  @spec check(atom, RateLimiter.id(), windows, integer) :: answer
  def check(limiter, id, window, cost) when is_call(limiter, cost) and is_atom(window),
    do: limiter |> Native.check(id, window, bounded(cost)) |> decided(limiter, id, window, cost)

  def check(limiter, id, windows, cost), do: check_once(limiter, id, windows, cost, nil)

  @doc "As `check/4`, but returns only whether the call was admitted."
  @spec allow?(atom, RateLimiter.id(), windows, integer) :: boolean
  def allow?(limiter, id, window, cost) when is_call(limiter, cost) and is_atom(window) do
    case Native.allow(limiter, id, window, bounded(cost)) do
      true -> true
      answer -> match?({:ok, _usage}, decided(answer, limiter, id, window, cost))
    end
  end

  def allow?(limiter, id, windows, cost),
    do: match?({:ok, _usage}, check_once(limiter, id, windows, cost, nil))

  defp decided({:ok, events, _, _, _, _, _, _, at, serial} = answer, limiter, id, window, cost) do
    receipt = {limiter, id, window, cost, at, serial, nil}
    usage = Usage.from_window(answer, limiter, window, cost, receipt)
    Telemetry.allowed(usage, events, id)
    {:ok, usage}
  end

  defp decided(
         {:rate_limited, events, _, _, _, _, _, _, _, _} = answer,
         limiter,
         id,
         window,
         cost
       ) do
    usage = Usage.from_window(answer, limiter, window, cost)
    Telemetry.denied(usage, events, id)
    {:error, :rate_limited, usage}
  end

  defp decided(other, limiter, id, window, cost) do
    other
    |> Request.answer(limiter, id, window, {:take, bounded(cost), nil})
    |> Answer.decided(limiter, id, window, cost, nil)
  end

  @doc "As `check/4`. A request id that was admitted before is admitted again, and takes nothing."
  @spec check_once(atom, RateLimiter.id(), windows, integer, request_id | nil) :: answer
  def check_once(limiter, id, windows, cost, request_id) do
    limiter
    |> request(id, windows, cost, {:take, request_id})
    |> Answer.decided(limiter, id, windows, cost, request_id && elem(request_id, 0))
  end

  @doc "Returns what `check/4` would return. Takes nothing, and emits no event."
  @spec peek(atom, RateLimiter.id(), windows, integer) :: answer
  def peek(limiter, id, windows, cost) do
    limiter
    |> request(id, windows, cost, {:peek, nil})
    |> Answer.looked(limiter, windows, cost)
  end

  @doc "Gives `cost` back, up to full."
  @spec refund(atom, RateLimiter.id(), windows, integer) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def refund(limiter, id, windows, cost) do
    limiter
    |> request(id, windows, cost, {:refund, nil})
    |> Answer.looked(limiter, windows, cost)
  end

  @doc "Gives back `cost` of the call whose answer has this usage: at most what still counts of that call."
  @spec give_back(Usage.t(), integer) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def give_back(usage, cost) do
    case Usage.receipt(usage) do
      nil ->
        raise Errors.no_receipt(usage)

      {limiter, id, windows, receipt} ->
        give_back(usage.source, limiter, id, windows, cost, receipt)
    end
  end

  # Nothing was charged, or this node alone has counted the call: what it will report to Redis stays as it is.
  defp give_back(source, limiter, id, windows, cost, {_at, 0, _charged, _request})
       when is_integer(cost) do
    with {:ok, usage} <- peek(limiter, id, windows, 0) do
      if source == :fallback, do: {:error, :unavailable, usage}, else: {:ok, usage}
    end
  end

  defp give_back(_source, limiter, id, windows, cost, receipt) do
    limiter
    |> request(id, windows, cost, {:refund, receipt})
    |> Answer.looked(limiter, windows, cost)
  end

  @doc "Forgets what an id has used."
  @spec reset(atom, RateLimiter.id(), windows) :: :ok | {:error, :unavailable, nil}
  def reset(limiter, id, windows) do
    with unavailable when is_tuple(unavailable) <-
           request(limiter, id, windows, 0, {:reset, nil}),
         do: {:error, :unavailable, nil}
  end

  @doc "Decides each entry by itself, in order. Takes nothing if one of them is invalid."
  @spec check_batch(atom, [{RateLimiter.id(), integer}], windows) :: [answer]
  def check_batch(limiter, entries, windows) do
    answers = batch(limiter, entries, windows, :take)

    Enum.zip_with(entries, answers, fn {id, cost}, answer ->
      Answer.decided(answer, limiter, id, windows, cost, nil)
    end)
  end

  @doc "Returns what each id has used, in order."
  @spec usage_batch(atom, [RateLimiter.id()], windows) ::
          {:ok, [{RateLimiter.id(), Usage.t()}]} | {:error, :unavailable, nil}
  def usage_batch(limiter, ids, windows) do
    entries = for id <- proper!(ids), do: {id, 0}
    answers = batch(limiter, entries, windows, :peek)

    if Enum.any?(answers, &match?({:unavailable, _, _, _}, &1)) do
      {:error, :unavailable, nil}
    else
      usages = Enum.map(answers, &Answer.usage(&1, limiter, windows, 0))
      {:ok, Enum.zip(ids, usages)}
    end
  end

  defp request(limiter, id, windows, cost, {op, about}) when is_call(limiter, cost),
    do: Request.one(limiter, id, windows, {op, bounded(op, cost), about})

  defp request(limiter, _id, _windows, cost, _what), do: raise(Errors.bad_call(limiter, cost))

  defp batch(limiter, entries, windows, op) when is_atom(limiter) do
    entries = entries |> proper!() |> Enum.map(&bounded_entry!/1)
    Request.batch(limiter, entries, windows, op)
  end

  defp batch(limiter, _entries, _windows, _op), do: raise(Errors.bad_call(limiter, 0))

  ## A limiter's life and name

  @doc "Makes a limiter that this node decides. It lives as long as its owner."
  @spec new_limiter(RateLimiter.Instance.Config.limiter(), :monotonic | Native.clock()) ::
          {:ok, Native.handle(), Native.owner()} | Native.rejection()
  def new_limiter(%{windows: windows, events: events, max_keys: max_keys} = config, clock) do
    options = {events, max_keys, threshold_ppm(config[:threshold]), clock}
    Native.new_limiter(Enum.map(windows, &Limit.to_native/1), options)
  end

  @doc "Makes a limiter of this name that the nodes of a Redis share. It lives here as long as its owner."
  @spec new_shared_limiter(RateLimiter.Instance.Config.limiter(), atom, Native.store()) ::
          {:ok, Native.handle(), Native.owner()} | Native.rejection() | Native.refusal()
  def new_shared_limiter(config, name, store) do
    %{windows: windows, events: events, max_keys: max_keys, on_outage: on_outage} = config
    options = {events, max_keys, threshold_ppm(config[:threshold]), on_outage}
    Native.new_shared_limiter(Enum.map(windows, &Limit.to_native/1), options, {store, name})
  end

  defp threshold_ppm(nil), do: nil
  defp threshold_ppm(share), do: share |> Kernel.*(@unit) |> round() |> max(1)

  defdelegate drop(owner), to: Native
  defdelegate bind(name, owner), to: Native
  defdelegate unbind(name, handle), to: Native
  defdelegate set_test_owned(name, owned?), to: Native
  defdelegate handle(name), to: Native

  ## A limiter's limits and counts, by handle

  @doc "Takes a cost of 1 from a limiter in memory that has no name, and returns whether it was admitted."
  @spec take?(Native.handle(), RateLimiter.id(), atom) :: boolean
  def take?(handle, id, window), do: Native.allow(handle, id, window, 1) == true

  @doc "Returns the scale, and how much each window holds under it."
  @spec plan(Native.handle()) :: %{scale: float, maxima: %{atom => non_neg_integer}} | nil
  def plan(handle) do
    case Native.plan(handle) do
      {ppm, windows} -> %{scale: ppm / @unit, maxima: Map.new(windows)}
      :unknown_limiter -> nil
    end
  end

  @doc "Changes the limits of some windows, all of them or none. Usage is kept."
  @spec update_limits(Native.handle(), [{atom, Limit.t()}]) :: :ok | {:error, String.t()}
  def update_limits(handle, windows),
    do: Native.update_limits(handle, Enum.map(windows, &Limit.to_native/1))

  @doc "Returns how many ids are in memory, and how many of them these limits would deny that are admitted now."
  @spec preview(Native.handle(), [{atom, Limit.t()}]) ::
          {non_neg_integer, non_neg_integer} | {:error, String.t()}
  def preview(handle, windows),
    do: Native.preview(handle, Enum.map(windows, &Limit.to_native/1))

  @doc "Returns the size and the counts of a limiter."
  @spec stats(Native.handle()) :: map | nil
  def stats(handle) do
    case Native.stats(handle) do
      %{windows: _} = stats -> Counts.of_limiter(stats)
      :unknown_limiter -> nil
    end
  end

  @doc "Returns how many places `sweep/2` inspects until it has visited all of a limiter."
  @spec slots(Native.handle()) :: non_neg_integer
  def slots(handle) do
    case Native.stats(handle) do
      %{slots: slots} -> slots
      :unknown_limiter -> 0
    end
  end

  @doc "Returns whether there is no room for more ids, so that new ones are judged together."
  @spec full?(Native.handle()) :: boolean
  def full?(handle), do: Native.full(handle) == true

  @doc "Visits about this many places, and removes idle ids."
  @spec sweep(Native.handle(), pos_integer) :: non_neg_integer | Native.refusal()
  defdelegate sweep(handle, max_slots), to: Native

  @doc "Gives memory that limiters have freed back to the operating system."
  @spec release_memory() :: :ok
  defdelegate release_memory, to: Native

  ## A clock for tests

  defdelegate manual_clock(start_ns), to: Native
  defdelegate manual_clock_advance(clock, ns), to: Native
  defdelegate manual_clock_set(clock, ns), to: Native
  defdelegate manual_clock_now(clock), to: Native

  ## Costs as the native library takes them

  # A negative amount gives nothing back, and one of more than 64 bits gives all back.
  defp bounded(:refund, cost), do: cost |> max(0) |> min(@max_cost)
  defp bounded(_op, cost), do: bounded(cost)

  @doc "Returns a cost for the native library. A cost that 64 bits cannot hold is above every maximum, and -1 means that."
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
