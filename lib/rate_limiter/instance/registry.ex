defmodule RateLimiter.Instance.Registry do
  @moduledoc false
  # The instances of this node, and their processes, by their rows in `RateLimiter.Instance.Names`.
  #
  # A check does not use it, because the native library resolves the names of limiters.

  alias RateLimiter.{Instance, Test}
  alias RateLimiter.Core.Errors
  alias RateLimiter.Instance.Names

  @type key :: Names.key()

  defdelegate via(key), to: Names
  defdelegate whereis(key), to: Names

  @doc "Publishes the instance of the calling process, which is registered under its name."
  @spec publish(Instance.t()) :: :ok
  def publish(%Instance{name: name} = instance), do: Names.put({:instance, name}, instance)

  @doc "Calls a process of an instance. Raises `ArgumentError` if it exits before it has replied."
  @spec call!(Instance.t(), GenServer.server(), term) :: term
  def call!(instance, server, request) do
    GenServer.call(server, request, :infinity)
  catch
    :exit, _reason -> raise Errors.not_running(instance.name)
  end

  @doc "Returns the instance of this name, or the one with which the calling test replaces it."
  @spec instance(term) :: Instance.t() | nil
  def instance(name) do
    case Test.Registry.instance() do
      %Instance{name: ^name} = own -> own
      _other -> ready(name)
    end
  end

  @doc "Returns the instance of this name, or raises an `ArgumentError` that lists the running ones."
  @spec fetch!(term) :: Instance.t()
  def fetch!(name), do: instance(name) || raise(Errors.unknown_instance(name, known()))

  @doc "Returns the table of an instance's subsystems, `nil` without any. A test's own instance takes precedence."
  @spec subsystems!(term) :: RateLimiter.VSM.Table.t() | nil
  def subsystems!(name) do
    if Test.Registry.subsystems?(),
      do: fetch!(name).subsystems,
      else: (ready(name) || fetch!(name)).subsystems
  end

  @doc "Returns the instance of a limiter, the calling test's own first."
  @spec holder!(atom) :: Instance.t()
  def holder!(limiter) when is_atom(limiter),
    do: holder(limiter) || raise(unknown_limiter(limiter))

  def holder!(other), do: raise(Errors.bad_call(other, 0))

  @doc "Returns the instance of a limiter, the calling test's own first, `nil` if there is none."
  @spec holder(atom) :: Instance.t() | nil
  def holder(limiter), do: Enum.find(all(), &Instance.fetch(&1, limiter))

  @doc "Returns the error for a limiter that no instance has."
  @spec unknown_limiter(atom) :: Exception.t()
  def unknown_limiter(limiter) do
    if Test.Registry.elsewhere?(limiter),
      do: Errors.elsewhere(limiter),
      else: Errors.unknown_limiter(limiter, known())
  end

  @doc "Returns the instances of this node by name, also those that are still starting."
  @spec instances() :: [Instance.t()]
  def instances do
    instances = for {_name, _pid, %Instance{} = instance} <- Names.all(:instance), do: instance
    Enum.sort_by(instances, & &1.name)
  end

  # The instances that a call from this process can use.
  defp all, do: List.wrap(Test.Registry.instance()) ++ instances()

  defp known, do: for(instance <- all(), do: {instance.name, Instance.names(instance)})

  defp ready(name) do
    with {_pid, %Instance{ready?: true} = instance} <- Names.lookup({:instance, name}),
         do: instance,
         else: (_none -> nil)
  end
end
