defmodule RateLimiter.Limits.History do
  @moduledoc false
  # The last changes of an instance's limits, as a row of its table.

  alias RateLimiter.{Instance, Limits}

  @row {:limits, :history}
  @most 100

  @doc "Records a change."
  @spec add(Instance.t(), String.t() | nil, Limits.diff()) :: :ok
  def add(_instance, _by, []), do: :ok

  def add(%Instance{table: table} = instance, by, diff) do
    change = %{at: DateTime.utc_now(), by: by, diff: diff}
    :ets.insert(table, {@row, Enum.take([change | all(instance)], @most)})
    :ok
  end

  @doc "Returns the changes, the last one first."
  @spec all(Instance.t()) :: [Limits.change()]
  def all(%Instance{table: table}) do
    case :ets.lookup(table, @row) do
      [{@row, changes}] -> changes
      [] -> []
    end
  rescue
    # The owner of the table has just exited.
    ArgumentError -> []
  end
end
