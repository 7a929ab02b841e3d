defmodule RateLimiter.Store.Lookup do
  @moduledoc false
  # The limiter that a name means to the calling process, and its windows.

  alias RateLimiter.Core.Native
  alias RateLimiter.Instance
  alias RateLimiter.Test

  @doc "Returns the handle of the limiter that the calling process means, if tests own limiters of this name."
  @spec handle!(atom) :: Native.handle()
  def handle!(name),
    do:
      Test.Registry.limiter(name) || Native.handle(name) ||
        raise(Instance.Registry.unknown_limiter(name))

  @doc "Returns the windows of a limiter, in order, with their maxima at the present scale; `nil` if it was removed."
  @spec windows(atom) :: [{atom, max :: non_neg_integer}, ...] | nil
  def windows(limiter) do
    with :test_owned <- Native.plan(limiter) do
      limiter |> handle!() |> Native.plan()
    end
    |> case do
      {_ppm, windows} -> windows
      :unknown_limiter -> nil
    end
  end
end
