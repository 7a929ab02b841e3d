defmodule RateLimiter.Instance.Registry do
  @moduledoc false
  # The instances of this node by name, and their processes.
  #
  # A check does not use it, because the native library resolves the names of limiters.
  #
  # A name is a row of a table. An instance's processes are registered in the table of that instance. The instances are in
  # a table of the application controller, a process that lives as long as the runtime. So no crash loses a name.

  alias RateLimiter.{Instance, Test}
  alias RateLimiter.Core.Errors

  @type key ::
          {:instance, name :: term}
          | {:writer | :credentials | :events | :heartbeat | :monitor, :ets.tid()}
          | {:controller, :ets.tid(), subsystem :: atom}

  @instances RateLimiter.Registry
  @subscribers RateLimiter.Subscribers

  @doc "Creates the tables of instances and of subscribers, unless they exist."
  @spec open() :: :ok
  def open do
    for {table, type} <- [{@instances, :set}, {@subscribers, :bag}],
        :ets.whereis(table) == :undefined do
      :ets.new(table, [type, :named_table, :public, read_concurrency: true])
      :ets.give_away(table, Process.whereis(:application_controller), nil)
    end

    :ok
  end

  @doc "Returns the name under which a process can be started and called."
  @spec via(key) :: {:via, module, key}
  def via(key), do: {:via, __MODULE__, key}

  @doc false
  @spec register_name(key, pid) :: :yes | :no
  def register_name({:instance, _name} = key, pid),
    do: if(register(key, pid, nil) == :ok, do: :yes, else: :no)

  # A process that still has the name belongs to a supervisor that was killed.
  def register_name(key, pid) do
    :ets.insert(elem(key, 1), {key, pid, nil})
    :yes
  rescue
    # The instance has stopped.
    ArgumentError -> :no
  end

  @doc false
  @spec unregister_name(key) :: true
  def unregister_name(key), do: :ets.delete(table(key), key)

  @doc false
  @spec whereis_name(key) :: pid | :undefined
  def whereis_name(key), do: whereis(key) || :undefined

  @doc "Registers a process with a value in the table of instances, unless another process has the key."
  @spec register(term, pid, term) :: :ok | {:error, {:already_registered, pid}}
  def register(key, pid, value) do
    for {_key, holder, _value} = row <- :ets.tab2list(@instances),
        not Process.alive?(holder),
        do: :ets.delete_object(@instances, row)

    cond do
      :ets.insert_new(@instances, {key, pid, value}) -> :ok
      holder = whereis(key) -> {:error, {:already_registered, holder}}
      true -> register(key, pid, value)
    end
  end

  @doc "Publishes the instance of the calling process, which is registered under its name."
  @spec publish(Instance.t()) :: :ok
  def publish(%Instance{name: name} = instance) do
    true = :ets.update_element(@instances, {:instance, name}, {3, instance})
    :ok
  end

  @doc "Returns the process that is registered under `key`."
  @spec whereis(key) :: pid | nil
  def whereis(key), do: with({pid, _value} <- lookup(key), do: pid)

  @doc "Returns the process that is registered under a key, and its value."
  @spec lookup(term) :: {pid, term} | nil
  def lookup(key) do
    with [{^key, pid, value}] <- :ets.lookup(table(key), key),
         true <- Process.alive?(pid),
         do: {pid, value},
         else: (_none -> nil)
  rescue
    # The instance has stopped, or the application was never started.
    ArgumentError -> nil
  end

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
    do: Enum.find(all(), &Instance.fetch(&1, limiter)) || raise(unknown_limiter(limiter))

  def holder!(other), do: raise(Errors.bad_call(other, 0))

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
    entries = :ets.select(@instances, [{{{:instance, :_}, :"$1", :"$2"}, [], [{{:"$1", :"$2"}}]}])
    alive = for {pid, %Instance{} = instance} <- entries, Process.alive?(pid), do: instance
    Enum.sort_by(alive, & &1.name)
  rescue
    # The application was never started.
    ArgumentError -> []
  end

  ## Subscribers to signals

  @doc "Adds the calling process to a topic. Those that have exited are removed."
  @spec subscribe(term) :: :ok
  def subscribe(topic) do
    for {_topic, pid} = row <- :ets.lookup(@subscribers, topic),
        not Process.alive?(pid),
        do: :ets.delete_object(@subscribers, row)

    :ets.insert(@subscribers, {topic, self()})
    :ok
  end

  @doc "Removes the calling process from a topic."
  @spec unsubscribe(term) :: :ok
  def unsubscribe(topic) do
    :ets.delete_object(@subscribers, {topic, self()})
    :ok
  end

  @doc "Returns the processes of a topic."
  @spec subscribers(term) :: [pid]
  def subscribers(topic), do: for({_topic, pid} <- :ets.lookup(@subscribers, topic), do: pid)

  # The instances that a call from this process can use.
  defp all, do: List.wrap(Test.Registry.instance()) ++ instances()

  defp known, do: for(instance <- all(), do: {instance.name, Instance.names(instance)})

  defp ready(name) do
    with {_pid, %Instance{ready?: true} = instance} <- lookup({:instance, name}),
         do: instance,
         else: (_none -> nil)
  end

  defp table({kind, _name}) when kind in [:instance, :test], do: @instances
  defp table(key), do: elem(key, 1)
end
