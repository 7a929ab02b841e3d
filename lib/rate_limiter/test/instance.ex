defmodule RateLimiter.Test.Instance do
  @moduledoc false
  # The private limiters of one test, and its clock. It ends with the test, and takes them along.

  use GenServer, restart: :temporary

  alias RateLimiter.{Engine, Registry}
  alias RateLimiter.Instance.{Keeper, Limiters}

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
  @spec allow(Limiters.t(), pid) :: :ok | {:error, {:already_registered, pid}}
  def allow(%Limiters{keeper: instance}, pid), do: GenServer.call(instance, {:allow, pid})

  @impl true
  def init({owner, name, start_ns}) do
    Process.monitor(owner)
    clock = Engine.manual_clock(start_ns)
    limiters = Limiters.new(instance: name, keeper: self(), clock: clock, ready?: true)
    :ok = Registry.register({:test, owner}, limiters)
    {:ok, limiters}
  end

  @impl true
  def handle_call({:allow, pid}, _from, limiters),
    do: {:reply, Registry.register({:test, pid}, limiters), limiters}

  def handle_call(change, _from, limiters),
    do: {:reply, Keeper.perform(limiters, change), limiters}

  @impl true
  def handle_info({:DOWN, _ref, :process, _owner, _reason}, limiters) do
    Limiters.clear(limiters)
    {:stop, :normal, limiters}
  end
end
