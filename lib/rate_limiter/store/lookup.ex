defmodule RateLimiter.Store.Lookup do
  @moduledoc false
  # What names mean: the limiter that a caller calls by its name, and the windows of it.

  alias RateLimiter.{Redis, Test}
  alias RateLimiter.Core.{Errors, Native}
  alias RateLimiter.Instance.Registry

  @doc "The call by name, or where that leaves open which limiter is meant, by handle."
  @spec at(atom, (Native.limiter() -> result)) :: result when result: term
  def at(limiter, call) do
    with :test_owned <- call.(limiter), do: limiter |> limiter!() |> call.()
  end

  @doc "The limiter that this process means, where tests have one of that name."
  @spec limiter!(atom) :: Native.handle()
  def limiter!(name),
    do:
      Test.Registry.limiter(name) || Native.handle(name) || raise(Registry.unknown_limiter(name))

  @doc "The limits of a limiter, wherever it is counted."
  @spec plan(Native.limiter()) :: Native.plan() | :unknown_limiter | :test_owned
  def plan(limiter) do
    with :remote <- Native.plan(limiter), do: Redis.Client.plan(limiter)
  end

  @doc "The windows of a limiter, in their order, with how much each holds now."
  @spec windows!(atom) :: [{atom, max :: non_neg_integer}, ...]
  def windows!(limiter) do
    unless is_atom(limiter), do: raise(Errors.bad_call(limiter, 0))
    windows(limiter) || raise(Registry.unknown_limiter(limiter))
  end

  @doc "The same; `nil` where the limiter is not there any more."
  @spec windows(atom) :: [{atom, max :: non_neg_integer}, ...] | nil
  def windows(limiter) do
    case at(limiter, &plan/1) do
      {_ppm, windows} -> for {name, _, _, _, _, max} <- windows, do: {name, max}
      :unknown_limiter -> nil
    end
  end
end
