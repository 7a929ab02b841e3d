defmodule RateLimiter.Replay.Engine do
  @moduledoc false
  # The only caller of the native replay.

  alias RateLimiter.Core.{Limit, LimitText, Native}
  alias RateLimiter.Replay.{Settings, Source}

  @type t :: Native.replay()

  # All requests wait for the end of the logs.
  @sorted_ns 0xFFFF_FFFF_FFFF_FFFF

  @doc """
  Returns a new replay, or raises an `ArgumentError` if a limit is invalid. A `sorted?` one judges requests only when all
  logs are closed.
  """
  @spec new!(Settings.t(), boolean) :: t
  def new!(%Settings{limits: limits} = settings, sorted? \\ false) do
    windows = Enum.map(limits, &Limit.to_native({:limit, &1}))
    schema = Settings.to_native(settings)

    reorder_ns = if sorted?, do: @sorted_ns, else: settings.reorder_ms * 1_000_000

    case Native.replay_new(windows, schema, reorder_ns, settings.fit) do
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

  Returns for each source the problem that ended it early, or `nil`. With `in_order?`, returns `:late` at the first late
  request.
  """
  @spec feed(t, [Source.t()], (map | :fitting -> any) | nil, boolean) ::
          [String.t() | nil] | :late
  def feed(replay, sources, progress, in_order?) do
    logs =
      for source <- sources do
        {Native.replay_open(replay), %{source: source, latest: -1, problem: nil}}
      end

    size = total_size(sources)
    report = progress || fn _ -> :ok end
    report_size = &report.(Map.put(&1, :size, size))

    with %{} = ended <- feed_all({replay, in_order?, report_size}, Map.new(logs), %{}) do
      report.(:fitting)
      for {log, _} <- logs, do: ended[log].problem
    end
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

  defp feed_all(_feed, open, ended) when open == %{}, do: ended

  defp feed_all({replay, in_order?, report} = feed, open, ended) do
    {log, state} = Enum.min_by(open, fn {log, state} -> {state.latest, log} end)

    case Source.read(state.source) do
      {:ok, bytes, source} ->
        {lines, latest, late} = Native.replay_feed(replay, log, bytes)
        open = Map.put(open, log, %{state | source: source, latest: latest || -1})
        report.(%{lines: lines, bytes: bytes_read(open) + bytes_read(ended)})
        if in_order? and late > 0, do: :late, else: feed_all(feed, open, ended)

      eof ->
        :ok = Native.replay_close(replay, log)
        ended = Map.put(ended, log, %{state | problem: problem(eof)})
        feed_all(feed, Map.delete(open, log), ended)
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
