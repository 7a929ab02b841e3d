defmodule RateLimiter.Engine do
  @moduledoc false
  # The only caller of the native library: scalars in, one crossing, an answer out.
  #
  # Windows are one name, or a list of names of which the empty one means every window. A call about a
  # limiter names it; the native library knows the names. Where it answers `:test_owned`, tests have limiters
  # of this name, and the call is made again with the handle of the one that is meant.

  alias RateLimiter.{Config, Errors, Limit, Native, Registry, Telemetry, Usage}

  @type windows :: atom | [atom]
  @type answer :: {:ok, Usage.t()} | {:error, :rate_limited, Usage.t()}

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
    selection = selection!(windows)

    limiter
    |> at(&Native.check_windows(&1, id, selection, bounded(cost)))
    |> checked(limiter, id, windows, cost)
  end

  def check(limiter, _id, _windows, cost), do: raise(Errors.bad_call(limiter, cost))

  @doc "What `check/4` would answer. Takes nothing, and makes no event."
  @spec peek(atom, RateLimiter.id(), windows, integer) :: answer
  def peek(limiter, id, window, cost) when is_call(limiter, cost) and is_atom(window) do
    limiter
    |> at(&Native.peek(&1, id, window, bounded(cost)))
    |> peeked(limiter, id, window, cost)
  end

  def peek(limiter, id, windows, cost) when is_call(limiter, cost) do
    selection = selection!(windows)

    limiter
    |> at(&Native.peek_windows(&1, id, selection, bounded(cost)))
    |> peeked(limiter, id, windows, cost)
  end

  def peek(limiter, _id, _windows, cost), do: raise(Errors.bad_call(limiter, cost))

  @doc "Decides each entry by itself, in order; nothing is taken where one of them is no entry."
  @spec check_batch(atom, [{RateLimiter.id(), integer}], windows) :: [answer]
  def check_batch(limiter, entries, window) when is_atom(window) do
    answers = batch(limiter, entries, window, :take)

    Enum.zip_with(entries, answers, fn {id, cost}, answer ->
      checked(answer, limiter, id, window, cost)
    end)
  end

  def check_batch(limiter, entries, windows) do
    # Asking about one window first says whether all of them are entries, before any is charged.
    _answers = batch(limiter, entries, hd(named(limiter, windows)), :peek)
    for {id, cost} <- entries, do: check(limiter, id, windows, cost)
  end

  @doc "What each id has used, in order."
  @spec usage_batch(atom, [RateLimiter.id()], windows) :: [{RateLimiter.id(), Usage.t()}]
  def usage_batch(limiter, ids, window) when is_atom(window) do
    answers = batch(limiter, for(id <- proper!(ids), do: {id, 0}), window, :peek)

    Enum.zip_with(ids, answers, fn id, answer ->
      {id, Usage.from_window(answer, limiter, window, 0)}
    end)
  end

  def usage_batch(limiter, ids, windows) do
    for id <- proper!(ids) do
      {:ok, usage} = peek(limiter, id, windows, 0)
      {id, usage}
    end
  end

  @doc "Gives `cost` back, up to full."
  @spec refund(atom, RateLimiter.id(), windows, integer) :: {:ok, Usage.t()}
  def refund(limiter, id, windows, cost) when is_call(limiter, cost) do
    selection = windows |> listed() |> selection!()
    given = cost |> max(0) |> min(@max_cost)

    case at(limiter, &Native.refund(&1, id, selection, given)) do
      refusal when is_atom(refusal) -> refuse!(refusal, limiter, id, windows)
      answer -> {:ok, answer |> Usage.from_windows(limiter, cost) |> only(windows)}
    end
  end

  def refund(limiter, _id, _windows, cost), do: raise(Errors.bad_call(limiter, cost))

  @doc "Forgets what an id has used."
  @spec reset(atom, RateLimiter.id(), windows) :: :ok
  def reset(limiter, id, windows) when is_atom(limiter) do
    selection = windows |> listed() |> selection!()

    with refusal when refusal != :ok <- at(limiter, &Native.reset(&1, id, selection)),
         do: refuse!(refusal, limiter, id, windows)
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
    with {ppm, windows} <- present(Native.plan(handle)) do
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
    Native.update_limit(handle, window, amount, per_ns, burst)
  end

  @doc "What a limiter holds and did."
  @spec stats(Native.handle()) :: map | nil
  def stats(handle) do
    with {keys, memory, checks, denials, overflowed, swept} <- present(Native.stats(handle)) do
      %{
        keys: keys,
        memory: memory,
        checks: checks,
        denials: denials,
        overflowed: overflowed,
        swept: swept
      }
    end
  end

  @doc "Whether there is no room for more ids, so that newcomers are judged together."
  @spec full?(Native.handle()) :: boolean
  def full?(handle), do: Native.full(handle) == true

  defdelegate sweep(handle, max_slots), to: Native

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

  defp checked({:ok, events, _, _, _} = answer, limiter, _id, _windows, cost) do
    usage = Usage.from_windows(answer, limiter, cost)
    Telemetry.allowed(usage, events)
    {:ok, usage}
  end

  defp checked({:rate_limited, events, _, _, _} = answer, limiter, id, _windows, cost) do
    usage = Usage.from_windows(answer, limiter, cost)
    Telemetry.denied(usage, events, id)
    {:error, :rate_limited, usage}
  end

  defp checked(:test_owned, limiter, id, window, cost) do
    limiter
    |> meant!()
    |> Native.check(id, window, bounded(cost))
    |> checked(limiter, id, window, cost)
  end

  defp checked(refusal, limiter, id, windows, _cost), do: refuse!(refusal, limiter, id, windows)

  defp peeked({verdict, _, _, _, _, _, _} = answer, limiter, _id, window, cost),
    do: answer(verdict, Usage.from_window(answer, limiter, window, cost))

  defp peeked({verdict, _, _, _, _} = answer, limiter, _id, _windows, cost),
    do: answer(verdict, Usage.from_windows(answer, limiter, cost))

  defp peeked(refusal, limiter, id, windows, _cost), do: refuse!(refusal, limiter, id, windows)

  defp answer(:ok, usage), do: {:ok, usage}
  defp answer(:rate_limited, usage), do: {:error, :rate_limited, usage}

  defp batch(limiter, entries, window, mode) do
    unless is_atom(limiter), do: raise(Errors.bad_call(limiter, 0))
    bounded = bounded_entries!(entries)
    large? = length(bounded) > @max_normal_batch

    case at(limiter, &batch(large?, &1, bounded, window, mode)) do
      answers when is_list(answers) -> answers
      :bad_id -> raise limiter |> bad_id(entries, window) |> Errors.bad_id()
      refusal -> refuse!(refusal, limiter, nil, window)
    end
  end

  defp batch(false, limiter, entries, window, mode),
    do: Native.check_batch(limiter, entries, window, mode)

  defp batch(true, limiter, entries, window, mode),
    do: Native.check_batch_dirty(limiter, entries, window, mode)

  ## Into what the native library takes

  # The call by name, or where that leaves open which limiter is meant, by handle.
  defp at(limiter, call) do
    with :test_owned <- call.(limiter), do: limiter |> meant!() |> call.()
  end

  defp meant!(limiter),
    do:
      Registry.owned(limiter) || Native.handle(limiter) || raise(Errors.unknown_limiter(limiter))

  # A cost that no 64 bits hold is above every maximum; to the library -1 says so.
  defp bounded(cost) when cost >= 0 and cost <= @max_cost, do: cost
  defp bounded(_cost), do: -1

  defp bounded_entries!(entries), do: entries |> proper!() |> Enum.map(&bounded_entry!/1)

  defp bounded_entry!({id, cost}) when is_integer(cost), do: {id, bounded(cost)}
  defp bounded_entry!(other), do: raise(Errors.bad_entry(other))

  defp proper!(list) do
    if is_list(list) and not List.improper?(list), do: list, else: raise(Errors.bad_list(list))
  end

  defp selection!([]), do: :all

  defp selection!(windows) do
    if distinct_atoms?(windows), do: windows, else: raise(Errors.bad_windows(windows))
  end

  # Charging a window twice in one call would surprise: no window may be named twice.
  defp distinct_atoms?([]), do: true

  defp distinct_atoms?([window | rest]) when is_atom(window),
    do: distinct_atoms?(rest) and not :lists.member(window, rest)

  defp distinct_atoms?(_other), do: false

  # The windows by name, all where none is named.
  defp named(limiter, windows) do
    case selection!(windows) do
      :all -> known_windows(limiter)
      windows -> windows
    end
  end

  defp listed(window) when is_atom(window), do: [window]
  defp listed(windows), do: windows

  defp only(usage, window) when is_atom(window), do: %{usage | windows: %{}}
  defp only(usage, _windows), do: usage

  ## Misuse

  @spec refuse!(Native.refusal(), atom, term, windows) :: no_return
  defp refuse!(:unknown_limiter, limiter, _id, _windows),
    do: raise(Errors.unknown_limiter(limiter))

  defp refuse!(:bad_id, _limiter, id, _windows), do: raise(Errors.bad_id(id))

  defp refuse!(:unknown_window, limiter, _id, windows) do
    known = known_windows(limiter)
    raise Errors.unknown_window(hd(listed(windows) -- known), limiter, known)
  end

  defp known_windows(limiter) do
    unless is_atom(limiter), do: raise(Errors.bad_call(limiter, 0))

    case at(limiter, &Native.plan/1) do
      {_ppm, windows} -> for {name, _, _, _, _, _} <- windows, do: name
      :unknown_limiter -> raise Errors.unknown_limiter(limiter)
    end
  end

  defp bad_id(limiter, entries, window) do
    {id, _cost} =
      Enum.find(entries, fn {id, _cost} ->
        at(limiter, &Native.peek(&1, id, window, 0)) == :bad_id
      end)

    id
  end

  defp present(:unknown_limiter), do: nil
  defp present(answer), do: answer
end
