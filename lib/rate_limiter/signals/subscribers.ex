defmodule RateLimiter.Signals.Subscribers do
  @moduledoc false
  # Who wants to hear of pain and pleasure on this node. Who ends is forgotten.

  @kinds [:pain, :pleasure]

  @doc false
  def child_spec(_options), do: Registry.child_spec(keys: :duplicate, name: __MODULE__)

  @spec add(atom, term) :: :ok
  def add(kind, instance) when kind in @kinds do
    remove(kind, instance)
    {:ok, _owner} = Registry.register(__MODULE__, {kind, instance}, nil)
    :ok
  end

  @spec remove(atom, term) :: :ok
  def remove(kind, instance) when kind in @kinds,
    do: Registry.unregister(__MODULE__, {kind, instance})

  @doc "Sends each subscriber `{:algedonic, kind, news}`."
  @spec tell(atom, map) :: :ok
  def tell(kind, %{instance: instance} = news) do
    Registry.dispatch(__MODULE__, {kind, instance}, fn subscribers ->
      for {pid, _value} <- subscribers, do: send(pid, {:algedonic, kind, news})
    end)
  rescue
    # The application is on its way out, and with it everybody who listened.
    ArgumentError -> :ok
  end
end
