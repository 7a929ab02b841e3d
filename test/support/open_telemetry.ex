# The part of the OpenTelemetry API that this project calls, with the semantics of a recorded span, for machines without
# Hex. Real libraries on the code path take its place.
unless Code.ensure_loaded?(:otel_span) do
  defmodule :otel_tracer do
    @moduledoc false
    def current_span_ctx, do: Process.get(__MODULE__, :undefined)
    def set_current_span(span), do: Process.put(__MODULE__, span)
  end

  defmodule :otel_span do
    @moduledoc false
    def is_recording(span), do: match?({:recorded_by, _pid}, span)

    def add_event({:recorded_by, pid}, name, attributes) when is_map(attributes) do
      send(pid, {:span_event, name, attributes})
      true
    end
  end
end
