if match?({:module, _}, Code.ensure_compiled(:otel_span)) do
  defmodule RateLimiter.OpenTelemetry do
    @moduledoc """
    Denials and thresholds as events of the caller's span.

    Attach it when the application starts:

        RateLimiter.OpenTelemetry.attach()

    A denied call adds the event `rate_limiter.denied` to the current span of the calling process, and a call with which an id
    reaches the `:threshold` of a limiter the event `rate_limiter.threshold`. An allowed call adds nothing. Where no span is
    recorded, nothing is built.

    The attributes are `rate_limiter.limiter`, `rate_limiter.window`, `rate_limiter.source`, `rate_limiter.cost`,
    `rate_limiter.max` and `rate_limiter.current`, and for a denied call `rate_limiter.retry_after_ms`, -1 if it can never
    be admitted. None of them reveals an id. This module exists where `:opentelemetry_api` is a dependency of the
    application.
    """

    @events %{
      [:rate_limiter, :violation] => "rate_limiter.denied",
      [:rate_limiter, :threshold] => "rate_limiter.threshold"
    }

    @doc "Attaches the handler. Returns `:ok`, also if it is attached already."
    @spec attach() :: :ok
    def attach do
      detach()
      :telemetry.attach_many(__MODULE__, Map.keys(@events), &__MODULE__.handle/4, nil)
    end

    @doc "Detaches the handler."
    @spec detach() :: :ok
    def detach do
      _not_found = :telemetry.detach(__MODULE__)
      :ok
    end

    @doc false
    def handle(event, measurements, metadata, nil) do
      span = :otel_tracer.current_span_ctx()

      if :otel_span.is_recording(span) do
        :otel_span.add_event(span, @events[event], attributes(measurements, metadata))
      end
    end

    defp attributes(measurements, metadata) do
      metadata
      |> Map.take([:limiter, :window, :source, :retry_after_ms])
      |> Map.merge(measurements)
      |> Map.new(fn {key, value} -> {"rate_limiter.#{key}", attribute(value)} end)
    end

    defp attribute(:infinity), do: -1
    defp attribute(value) when is_atom(value), do: Atom.to_string(value)
    defp attribute(value), do: value
  end
end
