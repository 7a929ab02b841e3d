defmodule RateLimiter.Telemetry.Checkpoint do
  @moduledoc false
  # The events of checkpoints.

  @doc "Emits that a file was written."
  @spec saved(term, map, non_neg_integer) :: :ok
  def saved(instance, %{file: file, keys: keys, bytes: bytes}, duration_ms) do
    measurements = %{keys: keys, bytes: bytes, duration_ms: duration_ms}
    execute(:saved, measurements, %{instance: instance, file: file})
  end

  @doc "Emits that an instance continues from a file."
  @spec restored(term, map, non_neg_integer) :: :ok
  def restored(instance, restored, duration_ms) do
    measurements =
      restored |> Map.take([:keys, :left_out, :age_ms]) |> Map.put(:duration_ms, duration_ms)

    execute(:restored, measurements, %{
      instance: instance,
      file: restored.file,
      dropped: restored.dropped
    })
  end

  @doc "Emits that a file was not read, and where it is now."
  @spec refused(term, String.t(), String.t()) :: :ok
  def refused(instance, file, reason),
    do: execute(:refused, %{count: 1}, %{instance: instance, file: file, reason: reason})

  @doc "Emits that no file could be written or read."
  @spec failed(term, :save | :restore, String.t()) :: :ok
  def failed(instance, action, reason),
    do: execute(:failed, %{count: 1}, %{instance: instance, action: action, reason: reason})

  defp execute(event, measurements, metadata),
    do: :telemetry.execute([:rate_limiter, :checkpoint, event], measurements, metadata)
end
