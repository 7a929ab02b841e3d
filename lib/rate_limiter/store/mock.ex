defmodule RateLimiter.Store.Mock do
  @moduledoc """
  A store in the memory of a node that fails on command, to test what an application does then.

      start_supervised!(
        {RateLimiter,
         name: MyApp.Limits,
         store: {RateLimiter.Store.Mock, name: MyApp.MockStore, nodes: 2, timeout: 20},
         limiters: [uploads: [windows: [minute: [limit: 10, per: :minute]]]]}
      )

      RateLimiter.Store.Mock.set(MyApp.MockStore, :hang)
      {:ok, %{source: :fallback}} = RateLimiter.check_and_track(:uploads, "ann", :minute)

  Its option is `:name`, an atom that no other table has. In the modes of `set/2`, each update

    * `:ok` - works;
    * `:conflict` - works, but only after the function has run twice, as if another node had changed the value meanwhile;
    * `:fail` - returns `{:error, reason}`;
    * `:raise` - raises;
    * `:hang` - never returns;
    * `:nonsense` - returns what no store may return;
    * `:lose` - returns the reply, but stores nothing.
  """

  @behaviour RateLimiter.Store

  @modes [:ok, :conflict, :fail, :raise, :hang, :nonsense, :lose]

  @type mode :: :ok | :conflict | :fail | :raise | :hang | :nonsense | :lose

  @doc "Sets how the store of this name behaves from the next update on."
  @spec set(name :: atom, mode) :: :ok
  def set(name, mode) when mode in @modes do
    true = :ets.insert(name, {:mode, mode})
    :ok
  end

  @impl true
  def init(options) do
    case Keyword.fetch(options, :name) do
      {:ok, name} when is_atom(name) and name != nil ->
        table = :ets.new(name, [:named_table, :public])
        :ok = set(table, :ok)
        {:ok, table}

      _other ->
        {:error, "expected the option name:, an atom"}
    end
  end

  @impl true
  def update(table, key, change) do
    case :ets.lookup_element(table, :mode, 2) do
      :ok -> replace(table, key, change)
      :conflict -> again(table, key, change)
      :fail -> {:error, "the mock fails"}
      :raise -> raise "the mock raises"
      :hang -> Process.sleep(:infinity)
      :nonsense -> :nonsense
      :lose -> {:ok, reply(change.(value(table, key)))}
    end
  end

  @impl true
  def close(table), do: :ets.delete(table)

  defp again(table, key, change) do
    _discarded = change.(value(table, key))
    replace(table, key, change)
  end

  defp replace(table, key, change) do
    before = :ets.lookup(table, key)

    case change.(value(before)) do
      {:keep, reply} -> {:ok, reply}
      {:put, value, _ttl_ms, reply} -> swapped(table, before, [{key, value}], {reply, change})
      {:delete, reply} -> swapped(table, before, [], {reply, change})
    end
  end

  # Each of these writes only if the row is still as it was.
  defp swapped(table, before, now, {reply, change}) do
    done? =
      case {before, now} do
        {[], [row]} -> :ets.insert_new(table, row)
        {[], []} -> true
        {[old], [row]} -> :ets.select_replace(table, [{old, [], [{:const, row}]}]) == 1
        {[old], []} -> :ets.select_delete(table, [{old, [], [true]}]) == 1
      end

    if done?, do: {:ok, reply}, else: replace(table, elem(hd(before ++ now), 0), change)
  end

  defp value(table, key), do: table |> :ets.lookup(key) |> value()
  defp value([{_key, value}]), do: value
  defp value([]), do: nil

  defp reply({:put, _value, _ttl_ms, reply}), do: reply
  defp reply({_write, reply}), do: reply
end
