defmodule RateLimiter.Store.Refusal do
  @moduledoc false
  # A refusal of the native library, as the error that says what to change.

  alias RateLimiter.Core.{Errors, Native}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Store.{Lookup, Selection}

  @doc "Raises the error of a call."
  @spec raise!(Native.refusal(), atom, term, Selection.t()) :: no_return
  def raise!(:bad_id, _limiter, id, _windows), do: raise(Errors.bad_id(id))

  def raise!(refusal, limiter, _id, windows) do
    known = Lookup.windows(limiter)
    if refusal == :unknown_limiter or known == nil, do: raise(Registry.unknown_limiter(limiter))

    known = Keyword.keys(known)
    raise Errors.unknown_window(hd(Selection.names(windows) -- known), limiter, known)
  end

  @doc "Raises the error of a batch."
  @spec raise_batch!(Native.refusal(), atom, [{term, integer}], Selection.t()) :: no_return
  def raise_batch!(:bad_id, limiter, entries, windows) do
    {id, _cost} = Enum.find(entries, fn {id, _cost} -> not Native.is_id(id) end)
    raise!(:bad_id, limiter, id, windows)
  end

  def raise_batch!(refusal, limiter, _entries, windows),
    do: raise!(refusal, limiter, nil, windows)
end
