defmodule RateLimiter.Store.Refusal do
  @moduledoc false
  # What the native library refuses, as the error that says what to do.

  alias RateLimiter.Core.{Errors, Native}
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Store.{Lookup, Selection}

  @doc "Raises what is wrong with a call."
  @spec raise!(Native.refusal(), atom, term, Selection.t()) :: no_return
  def raise!(:unknown_limiter, limiter, _id, _windows),
    do: raise(Registry.unknown_limiter(limiter))

  def raise!(:bad_id, _limiter, id, _windows), do: raise(Errors.bad_id(id))

  def raise!(:unknown_window, limiter, _id, windows) do
    known = Keyword.keys(Lookup.windows!(limiter))
    raise Errors.unknown_window(hd(listed(windows) -- known), limiter, known)
  end

  @doc "Raises what is wrong with a batch."
  @spec raise_batch!(Native.refusal(), atom, [{term, integer}], Selection.t()) :: no_return
  def raise_batch!(:bad_id, limiter, entries, windows) do
    {id, _cost} = Enum.find(entries, fn {id, _cost} -> not Native.is_id(id) end)
    raise!(:bad_id, limiter, id, windows)
  end

  def raise_batch!(refusal, limiter, _entries, windows),
    do: raise!(refusal, limiter, nil, windows)

  # Not `List.wrap/1`: nil, too, can be the name of a window that is not there.
  defp listed(window) when is_atom(window), do: [window]
  defp listed(windows), do: windows
end
