defmodule RateLimiter.Store.Request do
  @moduledoc false
  # A call to the native library, and the wait for its answer if a shared limiter has to ask its authority.
  #
  # The first crossing either answers, or sends the request and returns a ticket. The library answers each ticket exactly
  # once, by the deadline. The wait here is a little longer, in case the thread that answers gets no time to run. Then
  # the ticket is cancelled: either no answer will be sent any more, and this node answers alone; or the answer is in
  # the mailbox already, and is taken. So no message is ever left in the mailbox.
  #
  # The reference is made in the function that receives: then the runtime looks only at messages that are newer, and a
  # caller with a long mailbox does not pay for it.

  alias RateLimiter.{Instance, Telemetry}
  alias RateLimiter.Core.{Errors, Native}
  alias RateLimiter.Store.{Id, Lookup}

  # As the answer of an authority that is away.
  @stopping {:unavailable, :none, :local, 1_000_000}

  @doc "Returns the answer about one id."
  @spec one(atom, RateLimiter.id(), Lookup.names(), Native.request()) :: Native.answer()
  def one(limiter, id, windows, request) do
    limiter
    |> Native.request(id, Lookup.valid!(windows), request)
    |> answer(limiter, id, windows, request)
  end

  @doc "Returns the answer about one id, from what the first crossing returned."
  @spec answer(
          Native.answer() | Native.sent() | Native.refusal(),
          atom,
          RateLimiter.id() | Native.large_id(),
          Lookup.names(),
          Native.request()
        ) :: Native.answer()
  def answer({:sent, ticket, wait_ms}, limiter, id, windows, request) do
    case await(ticket, wait_ms) do
      :late -> alone(limiter, id, windows, request)
      answer -> report(answer, limiter)
    end
  end

  # Tests own limiters of this name: the call is made again, with the handle of the one that is meant.
  def answer(:test_owned, limiter, id, windows, request) do
    limiter
    |> Lookup.handle!()
    |> Native.request(id, windows, request)
    |> answer(limiter, id, windows, request)
  end

  # The instance is about to stop, and admits nothing. All other calls are answered as before.
  def answer(:stopping, _limiter, _id, _windows, {:take, _cost, _once, _plan}), do: @stopping

  def answer(:stopping, limiter, id, windows, request),
    do: answer(:test_owned, limiter, id, windows, request)

  def answer(:large_id, limiter, id, windows, request) do
    hashed = Id.hash!(limiter, id)

    limiter
    |> Native.request(hashed, windows, request)
    |> answer(limiter, hashed, windows, request)
  end

  def answer(:ok, _limiter, _id, _windows, _request), do: :ok
  def answer(:bad_id, _limiter, id, _windows, _request), do: raise(Errors.bad_id(id))

  def answer(refusal, limiter, _id, windows, request) when is_atom(refusal),
    do: refuse!(refusal, limiter, windows, elem(request, 3))

  def answer(answer, limiter, _id, _windows, _request), do: report(answer, limiter)

  @doc "Returns the answers about many ids, each decided by itself, in order."
  @spec batch(
          atom,
          [{RateLimiter.id(), Native.cost()}],
          Lookup.names(),
          {Native.op(), Native.plan_of_call()}
        ) :: [Native.answer()]
  def batch(limiter, entries, windows, how) do
    windows = Lookup.valid!(windows)

    limiter
    |> send_batch(limiter, entries, windows, how)
    |> Enum.flat_map(&answers(&1, limiter, windows, how))
  end

  # The native library takes as many entries as a scheduler decides in some ten microseconds, and returns the rest. So a
  # long batch leaves its scheduler to others like any code in Elixir. All parts are sent before the first is awaited.
  defp send_batch(name, limiter, entries, windows, {op, plan} = how) do
    case Native.request_batch(limiter, entries, windows, op, plan) do
      {sent, []} ->
        [{sent, entries, []}]

      {sent, rest} ->
        [{sent, entries, rest} | send_batch(name, limiter, rest, windows, how)]

      :stopping when op == :take ->
        [{List.duplicate(@stopping, length(entries)), entries, []}]

      owned when owned in [:test_owned, :stopping] ->
        send_batch(name, Lookup.handle!(name), entries, windows, how)

      :large_id ->
        send_batch(name, limiter, hash_first(limiter, entries), windows, how)

      refusal ->
        refuse!(refusal, name, windows, plan)
    end
  end

  defp hash_first(limiter, [{id, cost} | rest]), do: [{Id.hash!(limiter, id), cost} | rest]

  defp answers({{:sent, ticket, wait_ms}, entries, rest}, limiter, windows, {op, plan}) do
    case await(ticket, wait_ms) do
      :late ->
        part = Enum.take(entries, length(entries) - length(rest))
        for {id, cost} <- part, do: alone(limiter, id, windows, {op, cost, nil, plan})

      answers ->
        report_all(answers, limiter)
    end
  end

  defp answers({answers, _entries, _rest}, limiter, _windows, _how),
    do: report_all(answers, limiter)

  defp await(ticket, wait_ms) do
    reference = make_ref()

    with :waiting <- Native.await(ticket, reference) do
      receive do
        {^reference, answer} -> answer
      after
        wait_ms -> cancel(ticket, reference)
      end
    end
  end

  defp cancel(ticket, reference) do
    case Native.cancel(ticket) do
      :cancelled -> :late
      :answered -> receive(do: ({^reference, answer} -> answer))
    end
  end

  defp alone(limiter, id, windows, request) do
    limiter
    |> Native.request_alone(id, windows, request)
    |> answer(limiter, id, windows, request)
  end

  defp report_all(answers, limiter) do
    if List.keymember?(answers, :fallback, 0),
      do: Enum.map(answers, &report(&1, limiter)),
      else: answers
  end

  # The one answer with which this node starts or stops to decide alone has what the event needs.
  defp report({:fallback, change, {instance, on_outage, nodes}, answer}, limiter) do
    Telemetry.fallback(change, %{
      instance: :erlang.binary_to_term(instance),
      limiter: limiter,
      on_outage: on_outage,
      nodes: nodes
    })

    answer
  end

  defp report(answer, _limiter), do: answer

  @spec refuse!(atom, atom, Lookup.names(), Native.plan_of_call()) :: no_return
  defp refuse!(:unknown_window, limiter, windows, plan) do
    case Lookup.windows(limiter) do
      nil ->
        refuse!(:unknown_limiter, limiter, windows, plan)

      known ->
        known = Keyword.keys(known)
        named = Lookup.names(windows) ++ for {window, _, _, _, _} <- List.wrap(plan), do: window
        raise Errors.unknown_window(hd(named -- known), limiter, known)
    end
  end

  defp refuse!(:unknown_plan, limiter, _windows, plan), do: raise(Lookup.no_plan(limiter, plan))

  defp refuse!(:unknown_limiter, limiter, _windows, _plan),
    do: raise(Instance.Registry.unknown_limiter(limiter))
end
