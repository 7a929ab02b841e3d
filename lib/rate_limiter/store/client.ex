defmodule RateLimiter.Store.Client do
  @moduledoc false
  # A store that is written in Elixir, and its native authority: the only caller of its functions, besides the workers.

  alias RateLimiter.Core.Native
  alias RateLimiter.Store.Config

  @doc "Opens the store in the calling process, which owns what it makes, and starts its authority."
  @spec start(term, Config.t()) ::
          {:ok, Native.store(), Native.owner(), state :: term} | {:error, String.t()}
  def start(instance, %Config{module: module} = config) do
    case module.init(config.options) do
      {:ok, state} ->
        with {:ok, store, owner} <- Native.store_start(to_native(instance, config)),
             do: {:ok, store, owner, state}

      {:error, reason} ->
        {:error, "#{inspect(module)} could not be opened: #{words(reason)}"}

      other ->
        {:error,
         "expected #{inspect(module)}.init/1 to return {:ok, state} or {:error, reason}, got: #{inspect(other, limit: 10)}"}
    end
  end

  @doc "Stops the authority, and closes the store."
  @spec stop(Native.owner(), module, term) :: :ok
  def stop(owner, module, state) do
    :ok = Native.store_stop(owner)
    if function_exported?(module, :close, 1), do: module.close(state)
    :ok
  end

  defdelegate listen(store), to: Native, as: :store_listen
  defdelegate join(store, worker), to: Native, as: :store_join
  defdelegate finish(store, worker, number, results), to: Native, as: :store_finish
  defdelegate decide(calls, value, now_us), to: Native, as: :store_decide

  @doc "Returns the status and the counts of a store, `nil` if it has stopped."
  @spec status(Native.store()) :: map | nil
  def status(store) do
    with :unknown_store <- Native.store_status(store), do: nil
  end

  @doc "Returns a reason of a store as text of bounded length."
  @spec words(term) :: String.t()
  def words(%{__exception__: true} = exception), do: exception |> Exception.message() |> words()

  def words(text) when is_binary(text) and byte_size(text) <= 500 do
    if String.valid?(text), do: text, else: inspect(text)
  end

  def words(text) when is_binary(text), do: inspect(text, printable_limit: 400)

  def words(reason),
    do: reason |> inspect(limit: 20, printable_limit: 400) |> String.slice(0, 500)

  defp to_native(instance, config) do
    %{
      instance: :erlang.term_to_binary(instance),
      prefix: config.prefix,
      id_key: config.id_key && config.id_key.(),
      timeout_ms: config.timeout,
      workers: config.workers,
      max_queue: config.max_queue,
      cache_denials: config.cache_denials,
      nodes: config.nodes
    }
  end
end
