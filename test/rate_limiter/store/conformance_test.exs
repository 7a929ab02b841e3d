defmodule RateLimiter.Store.ConformanceTest do
  # The tests for stores, on stores that keep the contract and on stores that break it.
  use ExUnit.Case, async: true

  use RateLimiter.Store.Conformance,
    store: {RateLimiter.Store.Mock, name: :"mock of the conformance"}

  alias RateLimiter.Store.{Conformance, Mock}

  # Each breaks the contract in one way.
  defmodule Broken do
    @behaviour RateLimiter.Store

    @impl true
    def init(options) do
      {:ok, table} = Mock.init(name: :"broken #{inspect(options[:how])}")
      {:ok, {options[:how], table}}
    end

    @impl true
    def update({how, table}, key, change), do: update(how, table, key, change)

    # Reads, decides and writes in three steps.
    defp update(:races, table, key, change) do
      decision = change.(value(table, key))
      Process.sleep(1)
      write(table, key, decision)
    end

    defp update(:deletes_nothing, table, key, change) do
      case change.(value(table, key)) do
        {:delete, reply} -> {:ok, reply}
        decision -> write(table, key, decision)
      end
    end

    defp update(:cuts, table, key, change) do
      case change.(value(table, key)) do
        {:put, value, ttl, reply} ->
          write(table, key, {:put, binary_part(value, 0, min(20, byte_size(value))), ttl, reply})

        decision ->
          write(table, key, decision)
      end
    end

    defp update(:replies_first, table, key, change) do
      {:ok, reply} = write(table, key, change.(value(table, key)))
      {:ok, if(reply, do: make_ref())}
    end

    @impl true
    def close({_how, table}), do: Mock.close(table)

    defp value(table, key),
      do: with([{_key, value}] <- :ets.lookup(table, key), do: value, else: (_ -> nil))

    defp write(table, key, {:put, value, _ttl, reply}) do
      :ets.insert(table, {key, value})
      {:ok, reply}
    end

    defp write(table, key, {:delete, reply}) do
      :ets.delete(table, key)
      {:ok, reply}
    end

    defp write(_table, _key, {:keep, reply}), do: {:ok, reply}
  end

  for {how, part} <- [
        races: "many processes",
        deletes_nothing: "a key has no value",
        cuts: "keys and values",
        replies_first: "a function that raises"
      ] do
    test "a store that breaks the contract fails (#{how})" do
      index = Enum.find_index(Conformance.names(), &(&1 =~ unquote(part)))

      assert_raise RuntimeError, ~r/^expected /, fn ->
        Conformance.run(index, {Broken, how: unquote(how)})
      end
    end
  end
end
