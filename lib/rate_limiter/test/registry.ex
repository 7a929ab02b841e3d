defmodule RateLimiter.Test.Registry do
  @moduledoc false
  # The limiters of tests, by the processes that may use them.

  alias RateLimiter.Instance
  alias RateLimiter.Instance.Names

  # Set when the first test has subsystems of its own, and never cleared: before, calls on subsystems skip the search.
  @subsystems {__MODULE__, :subsystems}

  @doc "Lets `pid` use the instance of the calling process."
  @spec register(pid, Instance.t()) :: :ok | {:error, {:already_registered, pid}}
  def register(pid, %Instance{} = instance),
    do: Names.register({:test, pid}, self(), instance)

  @doc "Replaces the instance of the calling process by one that has subsystems."
  @spec publish(Instance.t()) :: :ok
  def publish(%Instance{} = instance) do
    unless subsystems?(), do: :persistent_term.put(@subsystems, true)

    owner = self()
    for {pid, ^owner, _old} <- Names.all(:test), do: Names.put({:test, pid}, instance)
    :ok
  end

  @doc "Returns whether a test has had subsystems of its own."
  @spec subsystems?() :: boolean
  def subsystems?, do: :persistent_term.get(@subsystems, false)

  @doc "Returns the instance of the test that the calling process belongs to."
  @spec instance() :: Instance.t() | nil
  def instance, do: Enum.find_value(family(), &instance/1)

  @doc "Returns the instance that a process started, or is allowed to use."
  @spec instance(pid) :: Instance.t() | nil
  def instance(pid) do
    with {_owner, instance} <- Names.lookup({:test, pid}), do: instance
  end

  @doc "Returns the handle of the calling test's own limiter of this name."
  @spec limiter(atom) :: RateLimiter.Core.Native.handle() | nil
  def limiter(name) do
    with %Instance{} = instance <- instance(),
         {handle, _config} <- Instance.fetch(instance, name),
         do: handle
  end

  @doc "Returns whether a test that the calling process does not belong to has a limiter of this name."
  @spec elsewhere?(atom) :: boolean
  def elsewhere?(limiter) do
    Enum.any?(Names.all(:test), fn {_pid, _owner, instance} ->
      Instance.fetch(instance, limiter) != nil
    end)
  end

  # The calling process, those that called it and those that started it, the nearest first.
  defp family do
    ancestors = for parent <- Process.get(:"$ancestors", []), pid = pid(parent), do: pid
    [self() | Process.get(:"$callers", [])] ++ ancestors
  end

  defp pid(pid) when is_pid(pid), do: pid
  defp pid(name) when is_atom(name), do: Process.whereis(name)
  defp pid(_other), do: nil
end
