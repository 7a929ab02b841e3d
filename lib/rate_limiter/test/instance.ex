defmodule RateLimiter.Test.Instance do
  @moduledoc false
  # The limiters of one test, and its clock. They end with the test.

  use GenServer, restart: :temporary

  alias RateLimiter.{Instance, Store, VSM}
  alias RateLimiter.Instance.Writer
  alias RateLimiter.Test.Registry
  alias RateLimiter.VSM.{Table, Tree}

  @doc "Starts an instance for the test `owner`, which replaces the instance `name`."
  @spec start(pid, term, non_neg_integer) :: :ok
  def start(owner, name, start_ns) do
    {:ok, _pid} =
      DynamicSupervisor.start_child(
        RateLimiter.Test.Supervisor,
        {__MODULE__, {owner, name, start_ns}}
      )

    :ok
  end

  @doc false
  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @doc "Lets another process use the limiters of a test."
  @spec allow(Instance.t(), pid) :: :ok | {:error, {:already_registered, pid}}
  def allow(%Instance{writer: writer}, pid), do: GenServer.call(writer, {:allow, pid})

  @doc "Adds subsystems to the instance of a test, once."
  @spec add_subsystems(Instance.t(), VSM.Config.t()) :: :ok | :taken
  def add_subsystems(%Instance{writer: writer}, config),
    do: GenServer.call(writer, {:subsystems, config})

  @impl true
  def init({owner, name, start_ns}) do
    Process.monitor(owner)
    clock = Store.manual_clock(start_ns)
    instance = Instance.new(name: name, writer: self(), clock: clock, ready?: true)
    :ok = Registry.register(owner, instance)
    {:ok, instance}
  end

  @impl true
  def handle_call({:allow, pid}, _from, instance),
    do: {:reply, Registry.register(pid, instance), instance}

  def handle_call({:subsystems, config}, _from, %Instance{subsystems: nil} = instance) do
    instance = %{instance | subsystems: Tree.new(config, instance.name, instance.clock)}
    Registry.publish(instance)
    {:ok, loops} = VSM.Supervisor.start_link(instance.subsystems)
    Table.put(instance.subsystems, :loops, loops)
    {:reply, :ok, instance}
  end

  def handle_call({:subsystems, _config}, _from, instance), do: {:reply, :taken, instance}

  def handle_call(change, _from, instance),
    do: {:reply, Writer.perform(instance, change), instance}

  @impl true
  def handle_info({:DOWN, _ref, :process, _owner, _reason}, instance) do
    # The loops read the table, so they stop first.
    if instance.subsystems != nil, do: Supervisor.stop(Table.get(instance.subsystems, :loops))
    Writer.clear(instance)
    {:stop, :normal, instance}
  end
end
