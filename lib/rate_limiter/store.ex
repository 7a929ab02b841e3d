defmodule RateLimiter.Store do
  @moduledoc false
  # The way into the native library, which nobody else takes: scalars in, one crossing, an answer out.
  #
  # A call about a limiter names it; the native library knows the names. Where it answers `:test_owned`, tests
  # have limiters of this name, and the call is made again with the handle of the one that is meant. Where it
  # answers `:remote`, Redis decides, and `RateLimiter.Store.Shared` makes the call.

  alias RateLimiter.{Config, Redis, Telemetry, Usage}
  alias RateLimiter.Core.{Errors, Limit, Native}
  alias RateLimiter.Store.{Lookup, Refusal, Selection, Shared}

  @type windows :: Selection.t()
  @type answer ::
          {:ok, Usage.t()}
          | {:error, :rate_limited, Usage.t()}
          | {:error, :unavailable, Usage.t()}
  @type request :: {id :: binary, keep_ns :: pos_integer}

  @unit 1_000_000
  @max_cost 0x7FFF_FFFF_FFFF_FFFF

  # As many entries take a normal scheduler some ten microseconds.
  @max_normal_batch 128

  defguardp is_call(limiter, cost) when is_atom(limiter) and is_integer(cost)

  @compile {:inline, bounded: 1}

  ## Deciding. The first clause of `check/4` is the hot path: no process, no lookup, no closure.

  @doc "Takes `cost` from the windows, all or nothing."
  @spec check(atom, RateLimiter.id(), windows, integer) :: answer
  def check(limiter, id, window, cost) when is_call(limiter, cost) and is_atom(window),
    do: limiter |> Native.check(id, window, bounded(cost)) |> checked(limiter, id, window, cost)

  def check(limiter, id, windows, cost) when is_call(limiter, cost) do
    selection = Selection.native!(windows)

    limiter
    |> Lookup.at(&Native.check_windows(&1, id, selection, bounded(cost)))
    |> checked(limiter, id, windows, cost)
  end

  def check(limiter, _id, _windows, cost), do: raise(Errors.bad_call(limiter, cost))

  @doc "As `check/4`, but a request that was admitted before is admitted again and takes nothing."
  @spec check_once(atom, RateLimiter.id(), windows, integer, request) :: answer
  def check_once(limiter, id, windows, cost, request) when is_call(limiter, cost) do
    selection = Selection.native!(windows)

    case Lookup.at(limiter, &Native.check_once(&1, id, selection, bounded(cost), request)) do
      :remote -> Shared.check(limiter, id, windows, cost, {bounded(cost), request})
      answer -> checked(answer, limiter, id, windows, cost)
    end
  end

  def check_once(limiter, _id, _windows, cost, _request),
    do: raise(Errors.bad_call(limiter, cost))

  @doc "What `check/4` would answer. Takes nothing, and makes no event."
  @spec peek(atom, RateLimiter.id(), windows, integer) :: answer
  def peek(limiter, id, window, cost) when is_call(limiter, cost) and is_atom(window) do
    limiter
    |> Lookup.at(&Native.peek(&1, id, window, bounded(cost)))
    |> peeked(limiter, id, window, cost)
  end

  def peek(limiter, id, windows, cost) when is_call(limiter, cost) do
    selection = Selection.native!(windows)

    limiter
    |> Lookup.at(&Native.peek_windows(&1, id, selection, bounded(cost)))
    |> peeked(limiter, id, windows, cost)
  end

  def peek(limiter, _id, _windows, cost), do: raise(Errors.bad_call(limiter, cost))

  @doc "Decides each entry by itself, in order; nothing is taken where one of them is no entry."
  @spec check_batch(atom, [{RateLimiter.id(), integer}], windows) :: [answer]
  def check_batch(limiter, entries, window) when is_atom(window) do
    case batch(limiter, entries, window, :take) do
      :remote ->
        Shared.check_batch(limiter, entries, window, bounded_entries!(entries))

      answers ->
        Enum.zip_with(entries, answers, fn {id, cost}, answer ->
          checked(answer, limiter, id, window, cost)
        end)
    end
  end

  def check_batch(limiter, entries, windows) do
    # Asking about one window first says whether all of them are entries, before any is charged.
    case batch(limiter, entries, first!(limiter, windows), :peek) do
      :remote -> Shared.check_batch(limiter, entries, windows, bounded_entries!(entries))
      _answers -> for {id, cost} <- entries, do: check(limiter, id, windows, cost)
    end
  end

  @doc "What each id has used, in order."
  @spec usage_batch(atom, [RateLimiter.id()], windows) ::
          {:ok, [{RateLimiter.id(), Usage.t()}]} | {:error, :unavailable, nil}
  def usage_batch(limiter, ids, windows) do
    entries = for id <- proper!(ids), do: {id, 0}
    window = if is_atom(windows), do: windows, else: first!(limiter, windows)

    case batch(limiter, entries, window, :peek) do
      :remote -> Shared.usage_batch(limiter, entries, windows)
      answers -> {:ok, Enum.zip(ids, usages(answers, limiter, ids, windows))}
    end
  end

  defp usages(answers, limiter, _ids, window) when is_atom(window),
    do: Enum.map(answers, &Usage.from_window(&1, limiter, window, 0))

  defp usages(_answers, limiter, ids, windows) do
    for id <- ids do
      {:ok, usage} = peek(limiter, id, windows, 0)
      usage
    end
  end

  @doc "Gives `cost` back, up to full."
  @spec refund(atom, RateLimiter.id(), windows, integer) ::
          {:ok, Usage.t()} | {:error, :unavailable, Usage.t()}
  def refund(limiter, id, windows, cost) when is_call(limiter, cost) do
    selection = Selection.native!(windows)
    given = cost |> max(0) |> min(@max_cost)

    case Lookup.at(limiter, &Native.refund(&1, id, selection, given)) do
      :remote -> Shared.look(limiter, id, windows, cost, {:refund, given})
      refusal when is_atom(refusal) -> Refusal.raise!(refusal, limiter, id, windows)
      answer -> {:ok, answer |> Usage.from_windows(limiter, cost) |> Selection.only(windows)}
    end
  end

  def refund(limiter, _id, _windows, cost), do: raise(Errors.bad_call(limiter, cost))

  @doc "Forgets what an id has used."
  @spec reset(atom, RateLimiter.id(), windows) :: :ok | {:error, :unavailable, nil}
  def reset(limiter, id, windows) when is_atom(limiter) do
    selection = Selection.native!(windows)

    case Lookup.at(limiter, &Native.reset(&1, id, selection)) do
      :ok -> :ok
      :remote -> Shared.reset(limiter, id, windows)
      refusal -> Refusal.raise!(refusal, limiter, id, windows)
    end
  end

  def reset(limiter, _id, _windows), do: raise(Errors.bad_call(limiter, 0))

  ## A limiter's life and name

  @doc "Makes a limiter, which lives as long as its owner."
  @spec new_limiter(Config.limiter(), :monotonic | Native.clock()) ::
          {:ok, Native.handle(), Native.owner()} | {:error, {atom, String.t()}}
  def new_limiter(%{windows: windows, events: events, max_keys: max_keys}, clock),
    do: Native.new_limiter(Enum.map(windows, &Limit.to_native/1), {events, max_keys, clock})

  defdelegate drop(owner), to: Native
  defdelegate bind(name, owner), to: Native
  defdelegate unbind(name, handle), to: Native
  defdelegate set_test_owned(name, owned?), to: Native
  defdelegate handle(name), to: Native

  ## Its limits and numbers, by handle

  @doc "The scale, and how much each window holds under it."
  @spec plan(Native.handle()) :: %{scale: float, maxima: %{atom => non_neg_integer}} | nil
  def plan(handle) do
    with {ppm, windows} <- handle |> Lookup.plan() |> present() do
      %{
        scale: ppm / @unit,
        maxima: Map.new(windows, fn {name, _, _, _, _, max} -> {name, max} end)
      }
    end
  end

  @doc "Puts another limit on a window; what was used stays used."
  @spec update_limit(Native.handle(), {atom, Limit.t()}) :: :ok | {:error, String.t()}
  def update_limit(handle, {window, limit}) do
    {^window, _algorithm, amount, per_ns, burst, _, _} = Limit.to_native({window, limit})

    with :remote <- Native.update_limit(handle, window, amount, per_ns, burst),
         do: Redis.Client.update_limit(handle, window, amount, per_ns, burst)
  end

  @doc "What a limiter holds and did."
  @spec stats(Native.handle()) :: map | nil
  def stats(handle) do
    case Native.stats(handle) do
      :remote -> handle |> Redis.Client.stats() |> present()
      :unknown_limiter -> nil
      stats -> named_stats(stats)
    end
  end

  defp named_stats({keys, memory, checks, denials, overflowed, swept}) do
    %{
      keys: keys,
      memory: memory,
      checks: checks,
      denials: denials,
      overflowed: overflowed,
      swept: swept
    }
  end

  @doc "Whether there is no room for more ids, so that newcomers are judged together."
  @spec full?(Native.handle()) :: boolean
  def full?(handle), do: Native.full(handle) == true

  @doc "Looks at about so many places for what is idle, and forgets it."
  @spec sweep(Native.handle(), pos_integer) :: non_neg_integer | Native.refusal()
  def sweep(handle, max_slots) do
    with :remote <- Native.sweep(handle, max_slots), do: Redis.Client.sweep(handle, max_slots)
  end

  ## A clock for tests

  defdelegate manual_clock(start_ns), to: Native
  defdelegate manual_clock_advance(clock, ns), to: Native
  defdelegate manual_clock_set(clock, ns), to: Native
  defdelegate manual_clock_now(clock), to: Native

  ## From native answers

  defp checked({:ok, events, _, _, _, _, _} = answer, limiter, _id, window, cost) do
    usage = Usage.from_window(answer, limiter, window, cost)
    Telemetry.allowed(usage, events)
    {:ok, usage}
  end

  defp checked({:rate_limited, events, _, _, _, _, _} = answer, limiter, id, window, cost) do
    usage = Usage.from_window(answer, limiter, window, cost)
    Telemetry.denied(usage, events, id)
    {:error, :rate_limited, usage}
  end

  defp checked({:ok, events, _, _, _} = answer, limiter, _id, windows, cost) do
    usage = answer |> Usage.from_windows(limiter, cost) |> Selection.only(windows)
    Telemetry.allowed(usage, events)
    {:ok, usage}
  end

  defp checked({:rate_limited, events, _, _, _} = answer, limiter, id, windows, cost) do
    usage = answer |> Usage.from_windows(limiter, cost) |> Selection.only(windows)
    Telemetry.denied(usage, events, id)
    {:error, :rate_limited, usage}
  end

  defp checked(:test_owned, limiter, id, window, cost) do
    limiter
    |> Lookup.limiter!()
    |> Native.check(id, window, bounded(cost))
    |> checked(limiter, id, window, cost)
  end

  defp checked(:remote, limiter, id, windows, cost),
    do: Shared.check(limiter, id, windows, cost, {bounded(cost), nil})

  defp checked(refusal, limiter, id, windows, _cost),
    do: Refusal.raise!(refusal, limiter, id, windows)

  defp peeked(:remote, limiter, id, windows, cost),
    do: Shared.look(limiter, id, windows, cost, {:peek, bounded(cost)})

  defp peeked({verdict, _, _, _, _, _, _} = answer, limiter, _id, window, cost),
    do: answer(verdict, Usage.from_window(answer, limiter, window, cost))

  defp peeked({verdict, _, _, _, _} = answer, limiter, _id, _windows, cost),
    do: answer(verdict, Usage.from_windows(answer, limiter, cost))

  defp peeked(refusal, limiter, id, windows, _cost),
    do: Refusal.raise!(refusal, limiter, id, windows)

  defp answer(:ok, usage), do: {:ok, usage}
  defp answer(:rate_limited, usage), do: {:error, :rate_limited, usage}

  defp batch(limiter, entries, window, mode) do
    unless is_atom(limiter), do: raise(Errors.bad_call(limiter, 0))
    bounded = bounded_entries!(entries)
    large? = length(bounded) > @max_normal_batch

    case Lookup.at(limiter, &batch(large?, &1, bounded, window, mode)) do
      answers when is_list(answers) -> answers
      :remote -> :remote
      refusal -> Refusal.raise_batch!(refusal, limiter, entries, window)
    end
  end

  defp batch(false, limiter, entries, window, mode),
    do: Native.check_batch(limiter, entries, window, mode)

  defp batch(true, limiter, entries, window, mode),
    do: Native.check_batch_dirty(limiter, entries, window, mode)

  ## Into what the native library takes

  # A cost that no 64 bits hold is above every maximum; to the library -1 says so.
  defp bounded(cost) when cost >= 0 and cost <= @max_cost, do: cost
  defp bounded(_cost), do: -1

  defp bounded_entries!(entries), do: entries |> proper!() |> Enum.map(&bounded_entry!/1)

  defp bounded_entry!({id, cost}) when is_integer(cost), do: {id, bounded(cost)}
  defp bounded_entry!(other), do: raise(Errors.bad_entry(other))

  defp proper!(list) do
    if is_list(list) and not List.improper?(list), do: list, else: raise(Errors.bad_list(list))
  end

  # One of the windows that are asked about.
  defp first!(limiter, windows) do
    case Selection.native!(windows) do
      :all -> limiter |> Lookup.windows!() |> hd() |> elem(0)
      [window | _] -> window
    end
  end

  defp present(:unknown_limiter), do: nil
  defp present(answer), do: answer
end
