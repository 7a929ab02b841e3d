defmodule RateLimiter.Limits.Shared do
  @moduledoc false
  # What the nodes of a Redis share about limits, as this node knows it: a row of the instance's table. And the version of this
  # node's limits, by which nodes with other limits can be seen.

  alias RateLimiter.Instance

  @row {:limits, :shared}

  # The last change for all nodes, when each limiter was reset as a whole, and how many nodes have which version.
  defstruct revision: 0, limits: [], by: nil, resets: %{}, versions: %{}, problem: nil

  @type t :: %__MODULE__{
          revision: non_neg_integer,
          limits: keyword,
          by: String.t() | nil,
          resets: %{String.t() => pos_integer},
          versions: %{String.t() => pos_integer},
          problem: String.t() | nil
        }

  @spec get(:ets.tid()) :: t
  def get(table) do
    case :ets.lookup(table, @row) do
      [{@row, shared}] -> shared
      [] -> %__MODULE__{}
    end
  end

  @spec put(:ets.tid(), t) :: true
  def put(table, %__MODULE__{} = shared), do: :ets.insert(table, {@row, shared})

  @doc "Returns when a limiter was reset as a whole, in microseconds of the clock of Redis; 0 if never."
  @spec resets(:ets.tid(), atom) :: non_neg_integer
  def resets(table, limiter), do: Map.get(get(table).resets, Atom.to_string(limiter), 0)

  @doc "Returns a short text that is the same on all nodes with the same limits."
  @spec version(Instance.t()) :: String.t()
  def version(instance) do
    limits =
      for {name, _handle, %{windows: windows}} <- Instance.all(instance),
          do: {name, Enum.sort(windows)}

    limits
    |> Enum.sort()
    |> :erlang.phash2(0x1_0000_0000)
    |> Integer.to_string(16)
    |> String.downcase()
    |> String.pad_leading(8, "0")
  end

  @doc "Returns what `RateLimiter.stats/1` has of it."
  @spec stats(Instance.t()) :: map
  def stats(%Instance{table: table} = instance) do
    %{revision: revision, versions: versions, problem: problem} = get(table)
    %{version: version(instance), versions: versions, revision: revision, problem: problem}
  end
end
