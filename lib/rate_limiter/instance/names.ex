defmodule RateLimiter.Instance.Names do
  @moduledoc false
  # The names of instances, of their processes and of subscribers, as rows of tables, without links.
  #
  # An instance's processes are registered in the table of that instance. The instances are in a table of the application
  # controller, a process that lives as long as the runtime. So no crash loses a name.

  @type key ::
          {:instance, name :: term}
          | {:writer | :credentials | :events | :heartbeat | :cluster | :monitor, :ets.tid()}
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

  @doc "Replaces the value of a key in the table of instances."
  @spec put(term, term) :: :ok
  def put(key, value) do
    true = :ets.update_element(@instances, key, {3, value})
    :ok
  end

  @doc "Returns the keys of this kind with their processes and values, `:instance` or `:test`."
  @spec all(:instance | :test) :: [{name :: term, pid, value :: term}]
  def all(kind) do
    for [name, pid, value] <- :ets.match(@instances, {{kind, :"$1"}, :"$2", :"$3"}),
        Process.alive?(pid),
        do: {name, pid, value}
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

  defp table({kind, _name}) when kind in [:instance, :test], do: @instances
  defp table(key), do: elem(key, 1)
end
