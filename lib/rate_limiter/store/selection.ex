defmodule RateLimiter.Store.Selection do
  @moduledoc false
  # The windows of a call: one name, or a list of names, of which the empty one means every window.

  alias RateLimiter.Usage
  alias RateLimiter.Core.Errors

  @type t :: atom | [atom]

  @doc "As the native library takes a list of them."
  @spec native!(t) :: [atom, ...] | :all
  def native!([]), do: :all
  def native!(window) when is_atom(window), do: [window]

  def native!(windows) do
    if distinct_atoms?(windows), do: windows, else: raise(Errors.bad_windows(windows))
  end

  @doc "The usage as it answers such a call: who asks about one window gets that one's."
  @spec only(Usage.t(), t) :: Usage.t()
  def only(usage, window) when is_atom(window), do: %{usage | windows: %{}}
  def only(usage, _windows), do: usage

  # Charging a window twice in one call would surprise: no window may be named twice.
  defp distinct_atoms?([]), do: true

  defp distinct_atoms?([window | rest]) when is_atom(window),
    do: distinct_atoms?(rest) and not :lists.member(window, rest)

  defp distinct_atoms?(_other), do: false
end
