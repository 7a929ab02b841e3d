defmodule RateLimiter.Telemetry.CheckpointTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Telemetry.Checkpoint

  setup context do
    test = self()

    events =
      for change <- [:saved, :restored, :refused, :failed],
          do: [:rate_limiter, :checkpoint, change]

    handle = fn event, measurements, metadata, _config ->
      if metadata.instance == context.test, do: send(test, {event, measurements, metadata})
    end

    :telemetry.attach_many(context.test, events, handle, nil)
    on_exit(fn -> :telemetry.detach(context.test) end)
    %{name: context.test}
  end

  test "each change has its measurements and metadata", %{name: name} do
    Checkpoint.saved(name, %{file: "f", keys: 2, bytes: 9}, 3)
    assert_received {[_, _, :saved], %{keys: 2, bytes: 9, duration_ms: 3} = saved, %{file: "f"}}
    assert map_size(saved) == 3

    restored = %{file: "f", keys: 2, left_out: 1, dropped: ["a.b"], age_ms: -5}
    Checkpoint.restored(name, restored, 3)

    assert_received {[_, _, :restored], measurements, %{file: "f", dropped: ["a.b"]}}
    assert measurements == %{keys: 2, left_out: 1, age_ms: -5, duration_ms: 3}

    Checkpoint.refused(name, "f", "why")
    assert_received {[_, _, :refused], %{count: 1}, %{file: "f", reason: "why"}}

    Checkpoint.failed(name, :save, "why")
    assert_received {[_, _, :failed], %{count: 1}, %{action: :save, reason: "why"}}
  end
end
