defmodule RateLimiter.Replay.Engine do
  @moduledoc false
  # The only caller of the native replay.

  alias RateLimiter.Core.{Limit, Native}
  alias RateLimiter.Replay.{Settings, Source}
  alias RateLimiter.Terminal.LimitText

  @type t :: Native.replay()

  @doc "Returns a new replay, or raises an `ArgumentError` if a limit is invalid."
  @spec new!(Settings.t()) :: t
  def new!(%Settings{limits: limits} = settings) do
    windows = Enum.map(limits, &Limit.to_native({:limit, &1}))
    schema = Settings.to_native(settings)

    case Native.replay_new(windows, schema, settings.reorder_ms * 1_000_000, settings.fit) do
      {:ok, replay} ->
        replay

      {:error, {nil, reason}} ->
        raise ArgumentError, reason

      {:error, {index, reason}} ->
        text = limits |> Enum.at(index) |> LimitText.format()
        raise ArgumentError, "limit #{inspect(text)}: #{reason}"
    end
  end

  @doc """
  Reads all sources to their ends. Reads the one that is furthest behind first, so that few requests wait in memory.

  Returns for each source the problem that ended it early, or `nil`.
  """
  @spec feed(t, [Source.t()], (map | :fitting -> any) | nil) :: [String.t() | nil]
  def feed(replay, sources, progress) do
    logs =
      for source <- sources do
        {Native.replay_open(replay), %{source: source, latest: -1, problem: nil}}
      end

    size = total_size(sources)
    report = progress || fn _ -> :ok end
    ended = feed_all(replay, Map.new(logs), %{}, &report.(Map.put(&1, :size, size)))
    report.(:fitting)
    for {log, _} <- logs, do: ended[log].problem
  end

  @doc "Returns the counts of lines and requests."
  @spec input(t) :: map
  def input(replay), do: Native.replay_input(replay)

  @doc "Returns the counts of the limit with this index."
  @spec outcome(t, non_neg_integer, non_neg_integer) :: map
  def outcome(replay, index, top), do: Native.replay_outcome(replay, index, top)

  @doc "Returns the smallest limits like the one with this index."
  @spec fit(t, non_neg_integer, [non_neg_integer]) :: map
  def fit(replay, index, shares_ppm), do: Native.replay_fit(replay, index, shares_ppm)

  defp feed_all(_replay, open, ended, _report) when open == %{}, do: ended

  defp feed_all(replay, open, ended, report) do
    {log, state} = Enum.min_by(open, fn {log, state} -> {state.latest, log} end)

    case Source.read(state.source) do
      {:ok, bytes, source} ->
        {lines, latest} = Native.replay_feed(replay, log, bytes)
        open = Map.put(open, log, %{state | source: source, latest: latest || -1})
        report.(%{lines: lines, bytes: bytes_read(open) + bytes_read(ended)})
        feed_all(replay, open, ended, report)

      eof ->
        :ok = Native.replay_close(replay, log)
        ended = Map.put(ended, log, %{state | problem: problem(eof)})
        feed_all(replay, Map.delete(open, log), ended, report)
    end
  end

  defp problem(:eof), do: nil
  defp problem({:eof, problem}), do: problem

  defp bytes_read(logs),
    do: logs |> Enum.map(fn {_, state} -> state.source.read end) |> Enum.sum()

  defp total_size(sources) do
    sizes = Enum.map(sources, & &1.size)
    if Enum.all?(sizes), do: Enum.sum(sizes)
  end
end
