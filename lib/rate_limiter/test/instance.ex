defmodule RateLimiter.Test.Instance do
  @moduledoc false
  # The private limiters of one test, and its clock. It ends with the test, and takes them along.

  use GenServer, restart: :temporary

  alias RateLimiter.{Instance, Store, VSM}
  alias RateLimiter.Instance.{Registry, Writer}
  alias RateLimiter.VSM.{Table, Tree}

  @doc "Starts one for `owner`, which plays the instance `name`."
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

  @doc "Lets another process use these limiters, too."
  @spec allow(Instance.t(), pid) :: :ok | {:error, {:already_registered, pid}}
  def allow(%Instance{keeper: instance}, pid), do: GenServer.call(instance, {:allow, pid})

  @doc "Gives the test subsystems of its own, once."
  @spec add_subsystems(Instance.t(), VSM.Config.t()) :: :ok | :taken
  def add_subsystems(%Instance{keeper: instance}, config),
    do: GenServer.call(instance, {:subsystems, config})

  @impl true
  def init({owner, name, start_ns}) do
    Process.monitor(owner)
    clock = Store.manual_clock(start_ns)
    limiters = Instance.new(instance: name, keeper: self(), clock: clock, ready?: true)
    :ok = Registry.register({:test, owner}, limiters)
    {:ok, limiters}
  end

  @impl true
  def handle_call({:allow, pid}, _from, limiters),
    do: {:reply, Registry.register({:test, pid}, limiters), limiters}

  def handle_call({:subsystems, config}, _from, %Instance{space: nil} = limiters) do
    limiters = %{limiters | space: Tree.new(config, limiters.instance, limiters.clock)}
    for key <- Registry.own_keys(), do: Registry.publish(key, limiters)
    {:ok, loops} = VSM.Supervisor.start_link(limiters.space)
    Table.put(limiters.space, :loops, loops)
    {:reply, :ok, limiters}
  end

  def handle_call({:subsystems, _config}, _from, limiters), do: {:reply, :taken, limiters}

  def handle_call(change, _from, limiters),
    do: {:reply, Writer.perform(limiters, change), limiters}

  @impl true
  def handle_info({:DOWN, _ref, :process, _owner, _reason}, limiters) do
    # Before the table that they read.
    if limiters.space != nil, do: Supervisor.stop(Table.get(limiters.space, :loops))
    Instance.clear(limiters)
    {:stop, :normal, limiters}
  end
end
