defmodule RateLimiter.Instance.Registry do
  @moduledoc false
  # Who runs on this node: the instances by name, and the private limiters of tests by process.
  #
  # An instance is known by what `RateLimiter.Instance.Supervisor` keeps of it. A check never comes here
  # (its limiter's name is resolved natively), unless that name belongs to tests.

  alias RateLimiter.Instance

  @type key ::
          {:instance, term}
          | {:keeper | :keyring | :watcher | :heartbeat, :ets.tid()}
          | {:test, pid}
          | {:controller, :ets.tid(), atom}
          | {:monitor, :ets.tid()}

  # Set for good when the first test has subsystems of its own: until then, nobody looks for any.
  @tests {__MODULE__, :tests}

  @doc false
  def child_spec(_options), do: Registry.child_spec(keys: :unique, name: __MODULE__)

  @doc "The name under which a process can be started and called."
  @spec via(key) :: {:via, module, term}
  def via(key), do: {:via, Registry, {__MODULE__, key}}

  @doc "Tells who calls what the calling process, already registered under `key`, keeps."
  @spec publish(key, Instance.t()) :: :ok
  def publish(key, %Instance{} = limiters) do
    {_new, _old} = Registry.update_value(__MODULE__, key, fn _none -> limiters end)
    :ok
  end

  @doc "The keys under which the calling process is registered."
  @spec own_keys() :: [key]
  def own_keys, do: Registry.keys(__MODULE__, self())

  @doc "Registers the calling process under `key`, with what it keeps."
  @spec register(key, Instance.t()) :: :ok | {:error, {:already_registered, pid}}
  def register(key, %Instance{} = limiters) do
    with {:ok, _registry} <- Registry.register(__MODULE__, key, limiters), do: :ok
  end

  @doc "The instance of this name, where the calling test has its own: that."
  @spec instance(term) :: Instance.t() | nil
  def instance(name) do
    case test() do
      %Instance{instance: ^name} = limiters -> limiters
      _other -> fetch({:instance, name})
    end
  end

  @doc "The subsystems of the instance of this name, nil where it has none; for a test that has its own: those."
  @spec space(term) :: {:ok, RateLimiter.VSM.Table.t() | nil} | :error
  def space(name) do
    limiters =
      if :persistent_term.get(@tests, false),
        do: instance(name),
        else: fetch({:instance, name}) || instance(name)

    if limiters, do: {:ok, limiters.space}, else: :error
  end

  @doc "From now on tests may have subsystems of their own."
  @spec expect_tests() :: :ok
  def expect_tests do
    unless :persistent_term.get(@tests, false), do: :persistent_term.put(@tests, true)
    :ok
  end

  @doc "The process that is registered under `key`."
  @spec whereis(key) :: pid | nil
  def whereis(key) do
    with [{pid, _value}] <- lookup(key),
         true <- Process.alive?(pid),
         do: pid,
         else: (_none -> nil)
  end

  @doc "All that a call from this process can reach: the instances, and first the calling test's own."
  @spec all() :: [Instance.t()]
  def all, do: List.wrap(test()) ++ instances()

  @doc "The instances of this node by name, also those that are about to be ready."
  @spec instances() :: [Instance.t()]
  def instances do
    any = [{{{:instance, :_}, :"$1", :"$2"}, [], [{{:"$1", :"$2"}}]}]
    entries = if running?(), do: Registry.select(__MODULE__, any), else: []
    alive = for {pid, %Instance{} = limiters} <- entries, Process.alive?(pid), do: limiters
    Enum.sort_by(alive, & &1.instance)
  end

  @doc "The private limiters of the test that the calling process belongs to."
  @spec test() :: Instance.t() | nil
  def test, do: Enum.find_value(family(), &test_of/1)

  @doc "The private limiters that a process started, or is allowed to use."
  @spec test_of(pid) :: Instance.t() | nil
  def test_of(pid), do: fetch({:test, pid})

  @doc "The handle of the calling test's own limiter of this name."
  @spec owned(atom) :: RateLimiter.Core.Native.handle() | nil
  def owned(limiter) do
    with %Instance{} = limiters <- test(),
         {handle, _config} <- Instance.fetch(limiters, limiter),
         do: handle
  end

  # This process, those that called it, those that started it: the nearest first.
  defp family do
    ancestors = for parent <- Process.get(:"$ancestors", []), pid = pid(parent), do: pid
    [self() | Process.get(:"$callers", [])] ++ ancestors
  end

  defp pid(pid) when is_pid(pid), do: pid
  defp pid(name) when is_atom(name), do: Process.whereis(name)
  defp pid(_other), do: nil

  # The registry learns of a process's end a moment late.
  defp fetch(key) do
    case lookup(key) do
      [{pid, %Instance{ready?: true} = limiters}] -> if Process.alive?(pid), do: limiters
      _none -> nil
    end
  end

  defp lookup(key), do: if(running?(), do: Registry.lookup(__MODULE__, key), else: [])

  defp running?, do: Process.whereis(__MODULE__) != nil
end
