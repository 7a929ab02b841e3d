defmodule RateLimiter.Instance.Registry do
  @moduledoc false
  # The instances of this node by name, and their processes.
  #
  # A check does not use it, because the native library resolves the names of limiters.

  alias RateLimiter.{Instance, Test}
  alias RateLimiter.Core.Errors

  @type key ::
          {:instance, name :: term}
          | {:writer | :credentials | :events | :heartbeat | :monitor, :ets.tid()}
          | {:controller, :ets.tid(), subsystem :: atom}

  @registry RateLimiter.Registry

  @doc "Returns the name under which a process can be started and called."
  @spec via(key) :: {:via, module, term}
  def via(key), do: {:via, Registry, {@registry, key}}

  @doc "Publishes the instance of the calling process, which is registered under its name."
  @spec publish(Instance.t()) :: :ok
  def publish(%Instance{name: name} = instance) do
    {_new, _old} = Registry.update_value(@registry, {:instance, name}, fn _old -> instance end)
    :ok
  end

  @doc "Returns the process that is registered under `key`."
  @spec whereis(key) :: pid | nil
  def whereis(key) do
    with [{pid, _value}] <- lookup(key), do: pid, else: ([] -> nil)
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
    do: Enum.find(all(), &Instance.fetch(&1, limiter)) || raise(unknown_limiter(limiter))

  def holder!(other), do: raise(Errors.bad_call(other, 0))

  @doc "Returns the error for a limiter that no instance has."
  @spec unknown_limiter(atom) :: Exception.t()
  def unknown_limiter(limiter), do: Errors.unknown_limiter(limiter, known())

  @doc "Returns the instances of this node by name, also those that are still starting."
  @spec instances() :: [Instance.t()]
  def instances do
    entries =
      Registry.select(@registry, [{{{:instance, :_}, :"$1", :"$2"}, [], [{{:"$1", :"$2"}}]}])

    alive = for {pid, %Instance{} = instance} <- entries, Process.alive?(pid), do: instance
    Enum.sort_by(alive, & &1.name)
  rescue
    # The application is not running.
    ArgumentError -> []
  end

  # The instances that a call from this process can use.
  defp all, do: List.wrap(Test.Registry.instance()) ++ instances()

  defp known, do: for(instance <- all(), do: {instance.name, Instance.names(instance)})

  defp ready(name) do
    with [{_pid, %Instance{ready?: true} = instance}] <- lookup({:instance, name}),
         do: instance,
         else: (_none -> nil)
  end

  # The registry removes the name of a process shortly after its exit.
  defp lookup(key) do
    for {pid, value} <- Registry.lookup(@registry, key), Process.alive?(pid), do: {pid, value}
  rescue
    ArgumentError -> []
  end
end
