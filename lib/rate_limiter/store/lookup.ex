defmodule RateLimiter.Store.Lookup do
  @moduledoc false
  # The limiter that a call names, which may be one of the calling process alone, and its windows.

  require RateLimiter.Core.Plan

  alias RateLimiter.Core.{Errors, Native, Options, Plan}
  alias RateLimiter.Instance
  alias RateLimiter.Test

  @typedoc "One window, or several. The empty list means every window."
  @type names :: atom | [atom]

  @doc "Returns the handle of the limiter that the calling process means, if tests own limiters of this name."
  @spec handle!(atom) :: Native.handle()
  def handle!(name),
    do:
      Test.Registry.limiter(name) || Native.handle(name) ||
        raise(Instance.Registry.unknown_limiter(name))

  @doc "Returns the windows of a limiter, in order, with their maxima at the present scale; `nil` if it was removed."
  @spec windows(atom) :: [{atom, max :: non_neg_integer}, ...] | nil
  def windows(limiter) do
    case Native.plan(limiter) do
      elsewhere when elsewhere in [:test_owned, :stopping] ->
        limiter |> handle!() |> Native.plan()

      plan ->
        plan
    end
    |> case do
      {_ppm, windows} -> windows
      :unknown_limiter -> nil
    end
  end

  @doc "Returns the windows of a call, or raises if they are not atoms, each once."
  @spec valid!(names) :: names
  def valid!(window) when is_atom(window), do: window
  def valid!([]), do: []
  def valid!([one, two] = windows) when is_atom(one) and is_atom(two) and one != two, do: windows

  def valid!(windows) do
    if distinct_atoms?(windows), do: windows, else: raise(Errors.bad_windows(windows))
  end

  @doc "Returns the plan of a call as the native library takes it, or raises if its limits are not valid."
  @spec plan!(atom, Plan.chosen()) :: Native.plan_of_call()
  def plan!(_limiter, name) when Plan.is_name(name), do: name

  def plan!(limiter, plan) do
    windows = Instance.Plans.windows!(limiter, nil)
    plan |> Plan.new!(windows, [:plan]) |> Plan.to_native()
  end

  @doc "Returns the error for a plan that a limiter does not have, or whose limits its store cannot keep."
  @spec no_plan(atom, Native.plan_of_call()) :: Exception.t()
  def no_plan(limiter, name) when Plan.is_name(name),
    do: Errors.unknown_plan(name, limiter, Instance.Plans.some(limiter))

  def no_plan(_limiter, _changes) do
    ArgumentError.exception(
      "#{Options.format([:plan])}: expected limits that the store of the limiter can keep"
    )
  end

  @doc "Returns the names in a selection. Unlike `List.wrap/1`, takes nil for a name."
  @spec names(names) :: [atom]
  def names(window) when is_atom(window), do: [window]
  def names(windows), do: windows

  # A call must not charge a window twice.
  defp distinct_atoms?([]), do: true

  defp distinct_atoms?([window | rest]) when is_atom(window),
    do: distinct_atoms?(rest) and not :lists.member(window, rest)

  defp distinct_atoms?(_other), do: false
end
