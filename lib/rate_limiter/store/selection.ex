defmodule RateLimiter.Store.Selection do
  @moduledoc false
  # The windows of a call: one name, or a list of names. The empty list means every window.

  alias RateLimiter.Core.Errors

  @type t :: atom | [atom]

  @doc "Returns the windows of a call, or raises if they are not atoms, each once."
  @spec valid!(t) :: t
  def valid!(window) when is_atom(window), do: window

  def valid!(windows) do
    if distinct_atoms?(windows), do: windows, else: raise(Errors.bad_windows(windows))
  end

  @doc "Returns the names in a selection. Unlike `List.wrap/1`, takes nil for a name."
  @spec names(t) :: [atom]
  def names(window) when is_atom(window), do: [window]
  def names(windows), do: windows

  # A call must not charge a window twice.
  defp distinct_atoms?([]), do: true

  defp distinct_atoms?([window | rest]) when is_atom(window),
    do: distinct_atoms?(rest) and not :lists.member(window, rest)

  defp distinct_atoms?(_other), do: false
end
