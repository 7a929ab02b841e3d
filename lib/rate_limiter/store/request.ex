defmodule RateLimiter.Store.Request do
  @moduledoc false
  # A call that Redis decides, and the wait for its answer.
  #
  # The native library answers exactly once, by the deadline, and sends the answer where it is not known at once. The
  # wait here is a little longer, for the case that its thread gets no time to run. Then the call is taken back: either
  # no answer will come any more, and this node answers alone; or it is here already, and is taken. So nothing is ever
  # left in the mailbox.
  #
  # The reference is made in the function that receives: then the runtime looks only at messages that came after it,
  # and a caller with a long mailbox pays nothing for it.

  alias RateLimiter.Core.Native

  # As many entries take a normal scheduler some ten microseconds.
  @max_normal_batch 64

  @doc "Asks about one id."
  @spec one(Native.limiter(), RateLimiter.id(), [atom, ...] | :all, Native.what()) ::
          Native.turned(Native.remote_answer()) | Native.refusal()
  def one(limiter, id, windows, what) do
    reference = make_ref()

    case Native.remote_ask(limiter, reference, id, windows, what) do
      {:sent, ticket, wait_ms} ->
        receive do
          {^reference, answer} -> answer
        after
          wait_ms ->
            with :late <- take_back(ticket, reference),
                 do: alone(limiter, id, windows, what)
        end

      known ->
        known
    end
  end

  @doc "Asks about many ids at once, each by itself."
  @spec batch(
          Native.limiter(),
          [{RateLimiter.id(), Native.cost()}],
          [atom, ...] | :all,
          Native.op()
        ) ::
          [Native.turned(Native.remote_answer())] | Native.refusal()
  def batch(limiter, entries, windows, op) do
    reference = make_ref()

    case send_batch(limiter, reference, entries, windows, op) do
      {:sent, ticket, wait_ms} ->
        receive do
          {^reference, answers} -> answers
        after
          wait_ms ->
            with :late <- take_back(ticket, reference),
                 do: for({id, cost} <- entries, do: alone(limiter, id, windows, {op, cost, nil}))
        end

      known ->
        known
    end
  end

  defp alone(limiter, id, windows, what), do: Native.remote_alone(limiter, id, windows, what)

  defp send_batch(limiter, reference, entries, windows, op) do
    if length(entries) > @max_normal_batch,
      do: Native.remote_ask_batch_dirty(limiter, reference, entries, windows, op),
      else: Native.remote_ask_batch(limiter, reference, entries, windows, op)
  end

  defp take_back(ticket, reference) do
    case Native.remote_cancel(ticket) do
      :left -> :late
      :told -> receive(do: ({^reference, answer} -> answer))
    end
  end
end
