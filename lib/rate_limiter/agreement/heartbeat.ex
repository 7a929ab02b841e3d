defmodule RateLimiter.Agreement.Heartbeat do
  @moduledoc false
  # What a node says of itself: who it is, the scale that it holds, and what stands there and does not add up.

  alias RateLimiter.Adaptive.Observation
  alias RateLimiter.Agreement.Codec

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

  # The strongest are heard; the greatest counts anyway.
  @most_sources 16
  @longest_source 256
  @most 1.0e15

  @doc "What a node says, as bytes."
  @spec write(t) :: binary
  def write(%__MODULE__{} = presence) do
    %{node: node, group: group, scale: scale, in_flight: in_flight} = presence

    Codec.write(
      {1, node, group, scale, in_flight, levels(presence.pain), levels(presence.pleasure)}
    )
  end

  @doc "What a node said."
  @spec read(binary) :: {:ok, t} | :error
  def read(bytes) do
    with {:ok, {1, node, group, scale, in_flight, pain, pleasure}} <- Codec.read(bytes),
         true <- is_binary(node) and is_binary(group) and is_float(scale),
         true <- is_integer(in_flight) and in_flight >= 0 and in_flight < @most,
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

  @doc "The observation with what stands on these nodes: in flight is their sum; of a source, the loudest counts."
  @spec complete(Observation.t(), [t]) :: Observation.t()
  def complete(observation, presences) do
    %{
      observation
      | in_flight: presences |> Enum.map(& &1.in_flight) |> Enum.sum(),
        pain: loudest(presences, :pain),
        pleasure: loudest(presences, :pleasure)
    }
  end

  defp loudest(presences, kind) do
    Enum.reduce(presences, %{}, fn presence, all ->
      Map.merge(all, Map.fetch!(presence, kind), fn _source, a, b -> max(a, b) end)
    end)
  end

  # A source is any term. One that another node does not know, or a long one, goes by its words.
  defp levels(levels) do
    levels
    |> Enum.sort_by(fn {source, level} -> {-level, source} end)
    |> Enum.take(@most_sources)
    |> Enum.map(fn {source, level} -> {name(source), words(source), level / 1} end)
  end

  defp name(source) do
    bytes = Codec.write(source)
    if byte_size(bytes) <= @longest_source, do: bytes, else: ""
  end

  defp words(source), do: source |> inspect(limit: 20) |> String.slice(0, 80)

  defp sources(list) when is_list(list) do
    Enum.reduce_while(list, {:ok, %{}}, fn
      {name, words, level}, {:ok, all}
      when is_binary(words) and is_float(level) and level >= 0.0 and level <= 1.0 ->
        {:cont, {:ok, Map.put(all, source(name, words), level)}}

      _other, _all ->
        {:halt, :error}
    end)
  end

  defp sources(_other), do: :error

  defp source(name, words) do
    case Codec.read(name) do
      {:ok, source} -> source
      :error -> words
    end
  end
end
