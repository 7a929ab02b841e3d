defmodule RateLimiter.Agreement.Heartbeat do
  @moduledoc false
  # A node's heartbeat: its name, its scale, and its levels, which are not summed like counters.

  alias RateLimiter.Adaptive.Observation
  alias RateLimiter.Agreement
  alias RateLimiter.Core.Options

  @enforce_keys [:node, :group, :scale]
  defstruct [:node, :group, :scale, in_flight: 0, pain: %{}, pleasure: %{}]

  @type t :: %__MODULE__{
          node: String.t(),
          group: String.t(),
          scale: float,
          in_flight: non_neg_integer,
          pain: Observation.levels(),
          pleasure: Observation.levels()
        }

  # The strongest sources are sent. Only the maximum matters to a law.
  @max_sources 16
  @max_source_bytes 256
  @max_in_flight 1.0e15

  @spec write(t) :: binary
  def write(%__MODULE__{} = heartbeat) do
    %{node: node, group: group, scale: scale, in_flight: in_flight} = heartbeat
    {pain, pleasure} = {levels(heartbeat.pain), levels(heartbeat.pleasure)}
    Agreement.encode({1, node, group, scale, in_flight, pain, pleasure})
  end

  @spec read(binary) :: {:ok, t} | :error
  def read(bytes) do
    with {:ok, {1, node, group, scale, in_flight, pain, pleasure}} <- Agreement.decode(bytes),
         true <- is_binary(node) and is_binary(group) and is_float(scale),
         true <- is_integer(in_flight) and in_flight >= 0 and in_flight < @max_in_flight,
         {:ok, pain} <- sources(pain),
         {:ok, pleasure} <- sources(pleasure) do
      {:ok,
       %__MODULE__{
         node: node,
         group: group,
         scale: scale,
         in_flight: in_flight,
         pain: pain,
         pleasure: pleasure
       }}
    else
      _other -> :error
    end
  end

  @doc "Adds the levels of these nodes to an observation: in flight is their sum, each source's level the maximum."
  @spec complete(Observation.t(), [t]) :: Observation.t()
  def complete(observation, heartbeats) do
    %{
      observation
      | in_flight: heartbeats |> Enum.map(& &1.in_flight) |> Enum.sum(),
        pain: strongest(heartbeats, :pain),
        pleasure: strongest(heartbeats, :pleasure)
    }
  end

  defp strongest(heartbeats, kind) do
    Enum.reduce(heartbeats, %{}, fn heartbeat, all ->
      Map.merge(all, Map.fetch!(heartbeat, kind), fn _source, a, b -> max(a, b) end)
    end)
  end

  # A source is any term. A long one, or one that another node cannot decode, is replaced by its text.
  defp levels(levels) do
    levels
    |> Enum.sort_by(fn {source, level} -> {-level, source} end)
    |> Enum.take(@max_sources)
    |> Enum.map(fn {source, level} -> {encode(source), text(source), level / 1} end)
  end

  defp encode(source) do
    bytes = Agreement.encode(source)
    if byte_size(bytes) <= @max_source_bytes, do: bytes, else: ""
  end

  defp text(source), do: source |> Options.show() |> String.slice(0, 80)

  defp sources(list) when is_list(list) do
    Enum.reduce_while(list, {:ok, %{}}, fn
      {bytes, text, level}, {:ok, all}
      when is_binary(text) and is_float(level) and level >= 0.0 and level <= 1.0 ->
        {:cont, {:ok, Map.put(all, Agreement.decode(bytes, text), level)}}

      _other, _all ->
        {:halt, :error}
    end)
  end

  defp sources(_other), do: :error
end
