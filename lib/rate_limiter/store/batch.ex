defmodule RateLimiter.Store.Batch do
  @moduledoc false
  # One batch of calls, in a process of its own: whatever the store does wrong is caught here, or ends this process alone.

  alias RateLimiter.Core.Native
  alias RateLimiter.Store.Client

  @type keys :: [{key :: binary, Native.store_calls()}]

  @doc "Updates the keys, and returns a result for each, in order."
  @spec run(module, state :: term, keys) :: [Native.store_result()]
  def run(module, state, keys) do
    now = now(module, state)

    if function_exported?(module, :update_many, 3),
      do: update_many(module, state, keys, now),
      else: Enum.map(keys, &update(module, state, &1, now))
  catch
    kind, reason -> failed(keys, raised(kind, reason))
  end

  @doc "Returns the same failure for each key."
  @spec failed(keys, {certain? :: boolean, String.t()}) :: [Native.store_result()]
  def failed(keys, failure), do: Enum.map(keys, fn _key -> failure end)

  defp now(module, state), do: if(function_exported?(module, :now, 1), do: module.now(state))

  defp update(module, state, {key, calls}, now) do
    state |> module.update(key, &decide(calls, &1, now)) |> result()
  catch
    kind, reason -> raised(kind, reason)
  end

  defp update_many(module, state, keys, now) do
    calls = Map.new(keys)
    names = Enum.map(keys, &elem(&1, 0))
    decide = fn key, present -> calls |> Map.fetch!(key) |> decide(present, now) end

    case module.update_many(state, names, decide) do
      results when length(results) == length(keys) -> Enum.map(results, &result/1)
      other -> failed(keys, nonsense(other))
    end
  end

  # A store that has read its clock together with the value passes both.
  defp decide(calls, {value, now_us}, _now), do: Client.decide(calls, value, now_us)
  defp decide(calls, value, now_us), do: Client.decide(calls, value, now_us)

  defp result({:ok, reply}) when is_reference(reply), do: reply
  defp result({:error, reason}), do: {true, Client.words(reason)}
  defp result(other), do: nonsense(other)

  # It may have stored something.
  defp nonsense(got) do
    {false,
     "expected {:ok, reply} with the reply of the function, or {:error, reason}, got: #{Client.words(inspect(got, limit: 10))}"}
  end

  defp raised(:error, reason),
    do: {false, :error |> Exception.normalize(reason) |> Client.words()}

  defp raised(kind, reason), do: {false, "#{kind}: #{Client.words(reason)}"}
end
