defmodule RateLimiter.Instance.Writer do
  @moduledoc false
  # Changes an instance's limiters while it runs, one change after the other.
  #
  # It keeps nothing itself: the table belongs to the supervisor, so that a crash here loses no count.

  use GenServer

  alias RateLimiter.Instance
  alias RateLimiter.Core.Errors

  @type change ::
          {:add, atom, RateLimiter.Config.limiter()}
          | {:remove, atom}
          | {:update, atom, atom, term}

  @doc false
  @spec start_link(Instance.t()) :: GenServer.on_start()
  def start_link(%Instance{keeper: name} = limiters),
    do: GenServer.start_link(__MODULE__, limiters, name: name)

  @doc "Makes a change; what was wrong with it is raised here, in the caller."
  @spec change!(Instance.t(), change) :: :ok
  def change!(%Instance{keeper: keeper, instance: instance}, change) do
    with {:error, exception} <- call(keeper, change, instance), do: raise(exception)
  end

  # An instance is known a moment before it has a keeper, and a moment after.
  defp call(keeper, change, instance) do
    GenServer.call(keeper, change, :infinity)
  catch
    :exit, {reason, _call} when reason in [:noproc, :normal, :shutdown] ->
      {:error, Errors.not_running(instance)}
  end

  @doc "Makes a change in the calling process."
  @spec perform(Instance.t(), change) :: :ok | {:error, Exception.t()}
  def perform(limiters, change) do
    change(limiters, change)
  rescue
    misuse in ArgumentError -> {:error, misuse}
  end

  @impl true
  def init(limiters) do
    Process.flag(:trap_exit, true)
    {:ok, limiters}
  end

  # Hibernation collects garbage: no limiter's owner stays on this heap to outlive the table.
  @impl true
  def handle_call(change, _from, limiters),
    do: {:reply, perform(limiters, change), limiters, :hibernate}

  # The name that this process is called by has gone: it begins again, under the name.
  @impl true
  def handle_info({:EXIT, _registry, reason}, limiters),
    do: {:stop, {:unregistered, reason}, limiters}

  # In an orderly stop, which alone ends in `:shutdown`, the limiters are gone when it returns. Otherwise
  # they stay, or the runtime frees them, which may be a few milliseconds later.
  @impl true
  def terminate(:shutdown, limiters), do: Instance.clear(limiters)
  def terminate(_reason, _limiters), do: :ok

  defp change(limiters, {:add, name, config}), do: Instance.add!(limiters, name, config)
  defp change(limiters, {:remove, name}), do: Instance.remove!(limiters, name)

  defp change(limiters, {:update, name, window, changes}),
    do: Instance.update!(limiters, name, window, changes)
end
